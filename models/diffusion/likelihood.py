"""How likely a sample is under a diffusion model: the change of density along its probability flow.

Song et al. 2021, eq. 39: log p_0(x_0) = log p_1(x_1) + integral over t of div u(x_t, t), along the trajectory from
``x_0`` to noise. The divergence is taken exactly, one vector-Jacobian product per dimension, or estimated by random
probes (Hutchinson 1990).
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.ode import RK4, combined, stage_slopes
from sceneleapultra.models.diffusion.path import Path
from sceneleapultra.models.diffusion.samplers import Denoise, time_grid


@dataclass(frozen=True)
class Likelihood:
    """Log-densities, in nats of normalized states, and what they cost."""

    log_prob: Float[Tensor, "b g"]
    divergence: Float[Tensor, "b g"]  # the part that the flow adds to the density of the noise
    nfe: int


@dataclass(frozen=True, kw_only=True)
class FlowRank:
    """How sampled grasps are ordered by their flow; the settings of ``config/rank``.

    Attributes:
        by: ``log_prob``, or ``divergence``, which leaves out how likely the noise was.
        steps: of the integration (Runge-Kutta, four evaluations each).
        probes: random directions that estimate each divergence; None for the exact one.
    """

    by: str
    steps: int
    probes: int | None

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if self.by not in ("log_prob", "divergence"):
            raise ValueError(f"rank.by must be log_prob or divergence, got {self.by}.")
        if self.steps < 1 or (self.probes is not None and self.probes < 1):
            raise ValueError(
                f"rank.steps and rank.probes must be at least 1, got {self.steps} and {self.probes}."
            )


def log_likelihood(
    denoise: Denoise,
    path: Path,
    x0: Float[Tensor, "b g d"],
    *,
    steps: int,
    probes: int | None,
    generator: torch.Generator | None,
) -> Likelihood:
    """Return the log-likelihood of each sample, whose denoising may not depend on the other samples.

    Args:
        denoise: maps (x_t, t) to the expected clean sample; not guided, not clipped.
        path: the process it was trained on.
        x0: clean samples.
        steps: of the integration from ``t_min`` to noise.
        probes: random signs per sample that estimate a divergence; None for the exact one.
        generator: source of the probes.

    Raises:
        ValueError: a path without a derivative.
    """
    if not path.continuous:
        raise ValueError(
            f"rank=log_prob follows a flow in continuous time; model.path={path.name} is known at discrete steps "
            "only. Use rank=score or none."
        )
    dim, nfe = x0.shape[-1], 0
    if probes is None:
        directions = torch.eye(dim, dtype=x0.dtype, device=x0.device)[:, None, None].expand(dim, *x0.shape)
    else:
        signs = torch.randint(0, 2, (probes, *x0.shape), generator=generator, device=x0.device)
        directions = 2.0 * signs.to(x0.dtype) - 1.0
    share = 1.0 if probes is None else 1.0 / probes

    def u(state: Tensor, t: Tensor) -> Tensor:
        """The velocity of the sample and, beside it, that of its log-density."""
        nonlocal nfe
        nfe += 1
        with torch.enable_grad():
            x = state[..., :dim].detach().requires_grad_()
            velocity = path.velocity(x, denoise(x, t.expand(len(x))), t)
            products = [
                (torch.autograd.grad(velocity, x, d, retain_graph=True)[0] * d).sum(-1) for d in directions
            ]
        divergence = share * torch.stack(products).sum(0)
        return torch.cat([velocity.detach(), divergence[..., None]], dim=-1)

    start, nothing = torch.tensor(path.t_min, dtype=x0.dtype), torch.zeros_like(x0[..., :1])
    alpha = float(path.alpha(start))
    state = torch.cat([alpha * x0, nothing], dim=-1)
    times = time_grid(path, steps + 1, "linspace", x0)[:-1].flip(0)
    for t, s in pairwise(times):
        state = state + (s - t) * combined(stage_slopes(RK4.tableau, u, state, t, s - t), RK4.tableau.weights)
    noise, divergence = state[..., :dim] / path.prior_scale, state[..., dim]
    log_noise = -0.5 * noise.square().sum(-1) - dim * (
        0.5 * math.log(2 * math.pi) + math.log(path.prior_scale)
    )
    return Likelihood(log_noise + divergence + dim * math.log(alpha), divergence, nfe)
