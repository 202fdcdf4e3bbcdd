"""DPM-Solver++(2M): second order at one evaluation per step, by remembering the last predicted clean sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.models.diffusion.solvers import CountingDenoiser, Rng, Solver, Spacing, time_grid


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Solver):
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), on every path; its first and last steps are DDIM's."""

    name = "dpmpp_2m"
    spacing: Spacing

    def times(self, process: NoiseProcess, like: Tensor) -> Float[Tensor, "n"]:
        """Return the times of the evaluations, in their order."""
        return time_grid(process, self.steps, self.spacing, like)[:-1]

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield the state after each step."""
        times = time_grid(process, self.steps, self.spacing, x)
        alpha, sigma = process.alpha(times), process.sigma(times)
        step = (alpha / sigma).log().diff()  # h of each step; infinite where a clean end begins or ends it
        before = torch.zeros_like(x)
        for i, (t, _) in enumerate(pairwise(times)):
            x0 = denoise(x, t)
            guess = x0
            if 0 < i < self.steps - 1:
                guess = x0 + 0.5 * step[i] / step[i - 1] * (x0 - before)
            shrunk = sigma[i + 1] / sigma[i]
            # alpha_s (1 - exp(-h)) without the exponential, which is undefined where alpha_t or sigma_s is 0.
            x = shrunk * x + (alpha[i + 1] - alpha[i] * shrunk) * guess
            before = x0
            yield x
