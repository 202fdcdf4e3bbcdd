"""What rectified flow is: straight lines from data to noise, ``x_t = (1 - t) x0 + t eps`` (Liu et al. 2023)."""

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.special import betaincinv
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.utils.core.names import unknown_name

Timing = Literal["uniform", "logit_normal", "beta"]
Coupling = Literal["independent", "optimal"]
_T_MIN = 1e-3
_QUANTILES = 4096  # of a Beta distribution, between which it is taken to be even


class FlowProcess(NoiseProcess):
    """Straight path between data and noise.

    Args:
        timing: how training times are drawn: ``uniform``; ``logit_normal``, the sigmoid of a normal number of this
            (mean, standard deviation) (Esser et al. 2024, eq. 19); ``beta`` of these (a, b).
        timing_parameters: of the distribution; not used by ``uniform``.
        coupling: ``optimal`` pairs the noise of a set with its grasps by optimal transport, see
            :func:`optimal_pairing`.
    """

    name = "flow"
    variance_preserving = False
    terminal_alpha = 0.0
    t_min = _T_MIN
    _quantiles: Tensor

    def __init__(self, *, timing: Timing, timing_parameters: tuple[float, float], coupling: Coupling) -> None:
        super().__init__()
        if timing not in get_args(Timing):
            raise unknown_name("process.noise.timing", timing, get_args(Timing))
        if coupling not in get_args(Coupling):
            raise unknown_name("process.noise.coupling", coupling, get_args(Coupling))
        first, second = timing_parameters
        if (timing == "logit_normal" and not second > 0) or (timing == "beta" and not min(first, second) > 0):
            raise ValueError(
                f"process.noise.timing_parameters={[first, second]}: logit_normal needs a positive second number "
                "(its standard deviation), beta two positive ones."
            )
        self.timing, self.timing_parameters, self.coupling = timing, timing_parameters, coupling
        quantiles = (
            betaincinv(first, second, np.linspace(0.0, 1.0, _QUANTILES + 1)) if timing == "beta" else ()
        )
        self.register_buffer("_quantiles", torch.tensor(quantiles, dtype=torch.float64), persistent=False)

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale 1 - t."""
        return 1.0 - t

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale t."""
        return t

    def alpha_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the signal scale."""
        return -torch.ones_like(t)

    def sigma_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the noise scale."""
        return torch.ones_like(t)

    def time_at(self, noise_level: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the time at which t / (1 - t) has this value."""
        return 1.0 - 1.0 / (1.0 + noise_level)

    def sample_t(self, uniform: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Turn uniform numbers into times of the chosen distribution by its inverse cumulative distribution."""
        first, second = self.timing_parameters
        if self.timing == "logit_normal":
            t = torch.sigmoid(first + second * torch.special.ndtri(uniform))
        elif self.timing == "beta":
            place = uniform.double() * _QUANTILES
            below = place.long().clamp(max=_QUANTILES - 1)
            t = torch.lerp(self._quantiles[below], self._quantiles[below + 1], place - below).to(uniform)
        else:
            t = uniform
        return t.clamp(self.t_min, 1.0)

    def pair_noise(
        self, x0: States, eps: States, condition: Int[Tensor, "b g"], valid: Bool[Tensor, "b g"]
    ) -> States:
        """Return the noise in the order in which it is paired with the clean samples."""
        if self.coupling == "independent":
            return eps
        order = optimal_pairing(x0, eps, condition, valid)
        return eps.gather(1, order[..., None].expand_as(eps))


def optimal_pairing(
    x0: States, eps: States, condition: Int[Tensor, "b g"], valid: Bool[Tensor, "b g"]
) -> Int[Tensor, "b g"]:
    """Say which noise of its set each sample is paired with, so that the squared distances are least.

    Mini-batch optimal transport (Tong et al. 2024, eq. 15), restricted to grasps under the same condition (the same
    anchor): exchanging noise between different conditions would make the noise depend on the condition in training
    but not in sampling (Cheng & Schwing 2025). Solved on the host: on a GPU this waits for the device.
    """
    cost = torch.cdist(x0.detach().double(), eps.double()).square()
    both = valid[:, :, None] & valid[:, None, :] & (condition[:, :, None] == condition[:, None, :])
    itself = torch.eye(x0.shape[1], dtype=torch.bool, device=x0.device)
    cost = cost.masked_fill(~(both | itself), 1e9)
    order = np.stack([linear_sum_assignment(scene)[1] for scene in cost.cpu().numpy()])
    return torch.from_numpy(order).to(x0.device)
