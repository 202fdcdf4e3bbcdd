"""Sampling of a distilled model, which answers with the clean end of a trajectory, in one to four steps."""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.models.diffusion.solvers import (
    CountingDenoiser,
    Rng,
    Solver,
    normal_like,
    time_grid,
)


@dataclass(frozen=True, kw_only=True)
class Consistency(Solver):
    """Multistep consistency sampling (Song et al. 2023, algorithm 1): answer, add fresh noise, answer again.

    All noise is scaled by ``temperature``.
    """

    name = "consistency"
    kind = "consistency"

    def times(self, process: NoiseProcess, like: Tensor) -> Float[Tensor, "n"]:
        """Return the times of the evaluations, in their order."""
        return time_grid(process, self.steps, "trailing", like)[:-1]

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield the clean sample after each answer."""
        for i, t in enumerate(self.times(process, x)):
            if i > 0:
                noise = normal_like(x, rng)
                x = process.alpha(t) * x + self.temperature * process.sigma(t) * noise
            x = denoise(x, t)
            yield x
