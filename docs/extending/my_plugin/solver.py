"""A solver: deterministic steps along the predicted noise, which is DDIM."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess
from sceneleapultra.models.diffusion.solvers import CountingDenoiser, NoiseSource, Solver, time_grid


@dataclass(frozen=True, kw_only=True)
class Jump(Solver):
    """Jumps from one noise level to the next with the noise that explains the present state."""

    name = "jump"

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: Tensor, rng: NoiseSource | None
    ) -> Iterator[Tensor]:
        """Yield the state after each step."""
        for t, earlier in pairwise(time_grid(process, self.steps, "trailing", x)):
            x0 = denoise(x, t)
            eps = (x - process.alpha(t) * x0) / process.sigma(t)
            x = process.alpha(earlier) * x0 + process.sigma(earlier) * eps
            yield x
