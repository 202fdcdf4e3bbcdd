"""How noise becomes grasps: free functions over (denoise, path), the same for every network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.diffusion.path import Path
from utils.names import unknown_name

Denoise = Callable[[Float[Tensor, "b g d"], Float[Tensor, "b"]], Float[Tensor, "b g d"]]  # (x_t, t) -> x0
Spacing = Literal["trailing", "linspace"]


@dataclass(frozen=True)
class Samples:
    """What a sampler returns: clean samples and the number of function evaluations they cost."""

    x0: Float[Tensor, "b g d"]
    nfe: int


def time_grid(steps: int, spacing: Spacing, device: torch.device) -> Float[Tensor, "n"]:
    """Return the ``steps + 1`` times from 1 (noise) to 0 (data).

    ``trailing`` always evaluates at t = 1 and never at t = 0 (Lin et al. 2024, table 2), ``linspace`` stops at 1/100
    before data: the two differ in where the last evaluation stands.
    """
    if steps < 1:
        raise ValueError(f"sampler.steps must be at least 1, got {steps}.")
    if spacing == "trailing":
        return torch.linspace(1.0, 0.0, steps + 1, device=device)
    if spacing == "linspace":
        return torch.cat([torch.linspace(1.0, 0.01, steps, device=device), torch.zeros(1, device=device)])
    raise unknown_name("sampler.spacing", spacing, get_args(Spacing))


def ddim(
    denoise: Denoise,
    path: Path,
    x_T: Float[Tensor, "b g d"],
    *,
    steps: int,
    spacing: Spacing,
    eta: float,
    clip_x0: float | None,
    generator: torch.Generator | None,
) -> Samples:
    """Sample by DDIM (Song et al. 2021, eq. 12); ``eta`` = 0 is deterministic, 1 is the ancestral DDPM step.

    Args:
        denoise: maps (x_t, t) to the predicted clean sample.
        path: the process the network was trained on.
        x_T: noise to start from; scaling it below 1 trades diversity for precision.
        steps: function evaluations.
        spacing: placement of the times.
        eta: share of the ancestral noise that is added back.
        clip_x0: bound on the predicted clean sample in normalised units; None for no bound.
        generator: source of the noise of eta > 0.

    Raises:
        ValueError: fewer than one step, or ``eta`` outside [0, 1].
    """
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"sampler.eta must lie in [0, 1], got {eta}.")
    times = time_grid(steps, spacing, x_T.device)
    alphas, sigmas = path.alpha(times), path.sigma(times)
    x = x_T
    for i in range(steps):
        x0 = denoise(x, times[i].expand(len(x)))
        if clip_x0 is not None:
            x0 = x0.clamp(-clip_x0, clip_x0)
        eps = (x - alphas[i] * x0) / sigmas[i]
        # Noise of the posterior q(x_s | x_t, x0): Ho et al. 2020, eq. 7, for any pair of times s < t.
        step_variance = sigmas[i] ** 2 - (alphas[i] / alphas[i + 1]) ** 2 * sigmas[i + 1] ** 2
        added = eta * (step_variance.clamp(min=0.0) * sigmas[i + 1] ** 2 / sigmas[i] ** 2).sqrt()
        x = alphas[i + 1] * x0 + (sigmas[i + 1] ** 2 - added**2).clamp(min=0.0).sqrt() * eps
        if eta > 0.0:
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            x = x + added * noise
    return Samples(x0=x, nfe=steps)


def ddpm(
    denoise: Denoise,
    path: Path,
    x_T: Float[Tensor, "b g d"],
    *,
    steps: int,
    spacing: Spacing,
    clip_x0: float | None,
    generator: torch.Generator | None,
) -> Samples:
    """Sample by ancestral steps (Ho et al. 2020, algorithm 2) on any grid of times: DDIM with ``eta`` = 1."""
    return ddim(
        denoise, path, x_T, steps=steps, spacing=spacing, eta=1.0, clip_x0=clip_x0, generator=generator
    )


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """A sampler with its settings, as ``config/model/sampler`` names it.

    ``temperature`` scales the initial noise; ``clip_x0`` bounds the predicted clean sample in normalised units.
    """

    name: Literal["ddpm", "ddim"]
    steps: int
    spacing: Spacing
    eta: float
    temperature: float
    clip_x0: float | None

    def __post_init__(self) -> None:
        """Refuse settings that no sampler can run."""
        if self.name not in ("ddpm", "ddim"):
            raise unknown_name("sampler", self.name, ("ddpm", "ddim"))
        if self.steps < 1:
            raise ValueError(f"sampler.steps must be at least 1, got {self.steps}.")
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(f"sampler.eta must lie in [0, 1], got {self.eta}.")
        if not self.temperature >= 0.0:
            raise ValueError(f"sampler.temperature must not be negative, got {self.temperature}.")

    def __call__(
        self, denoise: Denoise, path: Path, noise: Float[Tensor, "b g d"], generator: torch.Generator | None
    ) -> Samples:
        """Run the sampler from unit noise."""
        x_T = self.temperature * noise
        if self.name == "ddpm":
            return ddpm(
                denoise,
                path,
                x_T,
                steps=self.steps,
                spacing=self.spacing,
                clip_x0=self.clip_x0,
                generator=generator,
            )
        return ddim(
            denoise,
            path,
            x_T,
            steps=self.steps,
            spacing=self.spacing,
            eta=self.eta,
            clip_x0=self.clip_x0,
            generator=generator,
        )
