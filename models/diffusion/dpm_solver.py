"""DPM-Solver++(2M): second order at one evaluation per step, by remembering the last predicted clean sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.path import Path
from sceneleapultra.models.diffusion.samplers import Evaluate, Sampler, Spacing, time_grid


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Sampler):
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), on every path; its first and last steps are DDIM's."""

    name = "dpmpp_2m"
    spacing: Spacing

    def solve(
        self, ask: Evaluate, path: Path, x: Float[Tensor, "b g d"], generator: torch.Generator | None
    ) -> Iterator[Float[Tensor, "b g d"]]:
        """Yield the state after each step."""
        times = time_grid(path, self.steps, self.spacing, x)
        alpha, sigma = path.alpha(times), path.sigma(times)
        step = (alpha / sigma).log().diff()  # h of each step; infinite where a clean end begins or ends it
        before = torch.zeros_like(x)
        for i, (t, _) in enumerate(pairwise(times)):
            x0 = ask(x, t)
            guess = x0
            if 0 < i < self.steps - 1:
                guess = x0 + 0.5 * step[i] / step[i - 1] * (x0 - before)
            shrunk = sigma[i + 1] / sigma[i]
            # alpha_s (1 - exp(-h)) without the exponential, which is undefined where alpha_t or sigma_s is 0.
            x = shrunk * x + (alpha[i + 1] - alpha[i] * shrunk) * guess
            before = x0
            yield x
