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

from sceneleapultra.models.diffusion.ode import RK4, combine, stage_slopes
from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.models.diffusion.solvers import Denoise, Rng, normal_like, time_grid


@dataclass(frozen=True)
class Likelihood:
    """Log-densities, in nats of normalized states, and what they cost."""

    log_prob: Float[Tensor, "b g"]
    divergence: Float[Tensor, "b g"]  # the part that the flow adds to the density of the noise
    nfe: int


@dataclass(frozen=True, kw_only=True)
class FlowRank:
    """How exactly the likelihood of sampled grasps is computed, as ``config/sampling/rank`` names it.

    Attributes:
        steps: of the integration (Runge-Kutta, four evaluations each).
        probes: random directions that estimate each divergence; None for the exact one.
    """

    steps: int
    probes: int | None

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if self.steps < 1 or (self.probes is not None and self.probes < 1):
            raise ValueError(
                f"rank.flow.steps and probes must be at least 1, got {self.steps} and {self.probes}."
            )


def log_likelihood(
    denoise: Denoise,
    process: NoiseProcess,
    x0: States,
    *,
    steps: int,
    probes: int | None,
    rng: Rng,
) -> Likelihood:
    """Return the log-likelihood of each sample, whose denoising may not depend on the other samples.

    Args:
        denoise: maps (x_t, t) to the expected clean sample; not guided, not clipped.
        process: the process it was trained on.
        x0: clean samples.
        steps: of the integration from ``t_min`` to noise.
        probes: random signs per sample that estimate a divergence; None for the exact one.
        rng: source of the probes.

    Raises:
        ValueError: a path without a derivative.
    """
    if not process.continuous:
        raise ValueError(
            f"rank=log_prob follows a flow in continuous time; process={process.name} is known at discrete steps "
            "only. Use rank=score or none."
        )
    dim, nfe = x0.shape[-1], 0
    if probes is None:
        directions = torch.eye(dim, dtype=x0.dtype, device=x0.device)[:, None, None].expand(dim, *x0.shape)
    else:
        directions = torch.stack([normal_like(x0, rng).sign() for _ in range(probes)])
    share = 1.0 if probes is None else 1.0 / probes

    def u(state: Tensor, t: Tensor) -> Tensor:
        """The velocity of the sample and, beside it, that of its log-density."""
        nonlocal nfe
        nfe += 1
        with torch.enable_grad():
            x = state[..., :dim].detach().requires_grad_()
            velocity = process.velocity(x, denoise(x, t.expand(len(x))), t)
            products = [
                (torch.autograd.grad(velocity, x, d, retain_graph=True)[0] * d).sum(-1) for d in directions
            ]
        divergence = share * torch.stack(products).sum(0)
        return torch.cat([velocity.detach(), divergence[..., None]], dim=-1)

    start, nothing = torch.tensor(process.t_min, dtype=x0.dtype), torch.zeros_like(x0[..., :1])
    alpha = float(process.alpha(start))
    state = torch.cat([alpha * x0, nothing], dim=-1)
    times = time_grid(process, steps + 1, "linspace", x0)[:-1].flip(0)
    for t, s in pairwise(times):
        state = state + (s - t) * combine(stage_slopes(RK4.tableau, u, state, t, s - t), RK4.tableau.weights)
    noise, divergence = state[..., :dim] / process.prior_scale, state[..., dim]
    log_noise = -0.5 * noise.square().sum(-1) - dim * (
        0.5 * math.log(2 * math.pi) + math.log(process.prior_scale)
    )
    return Likelihood(log_noise + divergence + dim * math.log(alpha), divergence, nfe)
