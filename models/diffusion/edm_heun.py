"""EDM's own solver: Heun's method in the noise level, with noise stirred in before each step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.ancestral import ddim_step
from sceneleapultra.models.diffusion.ode import FlowSolver
from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.models.diffusion.solvers import (
    CountingDenoiser,
    Rng,
    Spacing,
    normal_like,
    time_grid,
)


@dataclass(frozen=True, kw_only=True)
class EDMHeun(FlowSolver):
    """Stochastic solver of Karras et al. 2022, algorithm 2, on every path through y = x / alpha, n = sigma / alpha.

    The last step, and the first where no signal is left, are Euler's; so N steps cost 2 N - 1 evaluations.
    Second order; where no signal is left at t = 1, where n is infinite, up to a logarithm.

    Attributes:
        spacing: of the times; on the EDM path, linspace is theirs.
        churn: noise that is stirred in over the whole way (S_churn); 0 is deterministic.
        churn_range: noise levels at which it is (S_min, S_max).
        churn_noise: its scale (S_noise).
    """

    name = "edm_heun"
    spacing: Spacing
    churn: float
    churn_range: tuple[float, float]
    churn_noise: float

    def __post_init__(self) -> None:
        """Refuse negative noise."""
        super().__post_init__()
        if self.churn < 0.0 or self.churn_noise < 0.0:
            raise ValueError(
                "solver.churn and solver.churn_noise must not be negative, got "
                f"{self.churn} and {self.churn_noise}."
            )

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield the state after each step."""
        times = time_grid(process, self.steps, self.spacing, x)
        for i, (t, s) in enumerate(pairwise(times)):
            if self.churn > 0.0:
                x, t = self._add_churn(process, x, t, rng)
            alpha, ahead = process.alpha(t), process.alpha(s)
            noise, noise_ahead = process.sigma(t) / alpha, process.sigma(s) / ahead
            x0 = denoise(x, t)
            if i == self.steps - 1 or (i == 0 and process.terminal_alpha == 0.0):
                x = ddim_step(process, x, x0, t, s, eta=0.0, rng=None)
            else:
                y = x / alpha
                slope = (y - x0) / noise
                guess = y + (noise_ahead - noise) * slope
                slope_ahead = (guess - denoise(ahead * guess, s)) / noise_ahead
                x = ahead * (y + (noise_ahead - noise) * 0.5 * (slope + slope_ahead))
            yield x

    def _add_churn(
        self, process: NoiseProcess, x: States, t: Float[Tensor, ""], rng: Rng
    ) -> tuple[States, Float[Tensor, ""]]:
        """Add noise and return the time at which a state has as much."""
        level = process.sigma(t) / process.alpha(t)
        low, high = self.churn_range
        more = min(self.churn / self.steps, math.sqrt(2.0) - 1.0)
        inside = (level >= low) & (level <= high)
        raised = process.time_at(level * (1.0 + more))
        kept = process.alpha(raised) / process.alpha(t)
        added = (process.sigma(raised) ** 2 - (kept * process.sigma(t)) ** 2).clamp(min=0.0).sqrt()
        noise = normal_like(x, rng)
        stirred = kept * x + added * self.churn_noise * noise
        unchanged = ~inside | (raised <= t)  # also where no signal is left to be drowned
        return torch.where(unchanged, x, stirred), torch.where(unchanged, t, raised)
