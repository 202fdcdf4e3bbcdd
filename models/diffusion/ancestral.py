"""DDIM and DDPM: each step keeps the predicted clean sample and re-mixes the noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.models.diffusion.solvers import (
    CountingDenoiser,
    Rng,
    Solver,
    Spacing,
    normal_like,
    time_grid,
)


def ddim_step(
    process: NoiseProcess,
    x: States,
    x0: States,
    t: Float[Tensor, ""],
    s: Float[Tensor, ""],
    *,
    eta: float,
    rng: Rng,
) -> States:
    """Step from ``t`` to ``s`` < t (Song et al. 2021, eq. 12); ``eta`` = 1 is a sample of the posterior."""
    times = torch.stack((t, s))
    return remix(x, x0, process.alpha(times).unbind(), process.sigma(times).unbind(), eta=eta, rng=rng)


def remix(
    x: States, x0: States, alphas: Sequence[Tensor], sigmas: Sequence[Tensor], *, eta: float, rng: Rng
) -> States:
    """Step between two times, whose signal and noise scales are given; see :func:`ddim_step`."""
    (alpha_t, alpha_s), (sigma_t, sigma_s) = alphas, sigmas
    eps = (x - alpha_t * x0) / sigma_t
    if eta == 0.0:
        return alpha_s * x0 + sigma_s * eps
    # Noise of the posterior q(x_s | x_t, x0): Ho et al. 2020, eq. 7, for any pair of times s < t.
    step_variance = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    added = eta * (step_variance.clamp(min=0.0) * sigma_s**2 / sigma_t**2).sqrt()
    x = alpha_s * x0 + (sigma_s**2 - added**2).clamp(min=0.0).sqrt() * eps
    return x + added * normal_like(x, rng)


def remixed(
    denoise: CountingDenoiser,
    process: NoiseProcess,
    times: Float[Tensor, "n"],
    x: States,
    *,
    eta: float,
    rng: Rng,
) -> Iterator[States]:
    """Yield the state after each step of :func:`ddim_step` from time to time; scales are computed for all at once."""
    alpha_all, sigma_all = process.alpha(times), process.sigma(times)
    if eta == 0.0:  # the same step, sorted by x and x0
        kept = sigma_all[1:] / sigma_all[:-1]
        of_x0 = torch.addcmul(alpha_all[1:], kept, alpha_all[:-1], value=-1.0)
        for t, a, b in zip(times[:-1].unbind(), kept.unbind(), of_x0.unbind(), strict=True):
            x = torch.addcmul(a * x, b, denoise(x, t))
            yield x
        return
    alphas, sigmas = pairwise(alpha_all.unbind()), pairwise(sigma_all.unbind())
    for t, alpha, sigma in zip(times.unbind(), alphas, sigmas, strict=False):
        x = remix(x, denoise(x, t), alpha, sigma, eta=eta, rng=rng)
        yield x


@dataclass(frozen=True, kw_only=True)
class DDIM(Solver):
    """DDIM (Song et al. 2021): one evaluation per step, first order, on every path.

    ``eta`` is the share of the ancestral noise that is added back: 0 is deterministic, 1 is the ancestral DDPM step.
    On the flow path with ``eta`` 0 it is Euler's method, on EDM Euler's method in sigma.
    """

    name = "ddim"
    spacing: Spacing
    eta: float

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        super().__post_init__()
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(f"solver.eta must lie in [0, 1], got {self.eta}.")

    def times(self, process: NoiseProcess, like: Tensor) -> Float[Tensor, "n"]:
        """Return the times of the evaluations, in their order."""
        return time_grid(process, self.steps, self.spacing, like)[:-1]

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield the state after each step."""
        times = time_grid(process, self.steps, self.spacing, x)
        yield from remixed(denoise, process, times, x, eta=self.eta, rng=rng)


@dataclass(frozen=True, kw_only=True)
class DDPM(Solver):
    """Ancestral sampling (Ho et al. 2020, algorithm 2) on any grid of times: DDIM with ``eta`` = 1."""

    name = "ddpm"
    spacing: Spacing

    def check(self, process: NoiseProcess) -> None:
        """Refuse paths that DDPM is not defined on."""
        super().check(process)
        if not process.variance_preserving:
            raise ValueError(
                f"solver=ddpm steps through a variance-preserving chain; process={process.name} is none. "
                "Use solver=ddim (solver.eta=1 adds noise), heun or dopri5."
            )

    def times(self, process: NoiseProcess, like: Tensor) -> Float[Tensor, "n"]:
        """Return the times of the evaluations, in their order."""
        return time_grid(process, self.steps, self.spacing, like)[:-1]

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield the state after each step."""
        times = time_grid(process, self.steps, self.spacing, x)
        yield from remixed(denoise, process, times, x, eta=1.0, rng=rng)
