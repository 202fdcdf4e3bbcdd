"""Sampling of a CVAE: codes from the prior, decoded in one evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass

from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.models.diffusion.solvers import CountingDenoiser, Rng, Solver


@dataclass(frozen=True, kw_only=True)
class PriorSolver(Solver):
    """Decodes codes from the prior: the one way to sample a CVAE, in one evaluation."""

    name = "prior"
    kind = "latent"

    def __post_init__(self) -> None:
        """Refuse more than the one step there is."""
        super().__post_init__()
        if self.steps != 1:
            raise ValueError(f"solver=prior decodes once: solver.steps must be 1, got {self.steps}.")

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield what the codes decode to."""
        yield denoise(x, x.new_zeros(()))
