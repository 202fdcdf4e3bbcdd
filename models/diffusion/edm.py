"""What EDM is: noise added to data that is not shrunk, a preconditioned network, log-normal noise levels.

Karras et al. 2022, table 1. ``x_t = x0 + sigma(t) eps`` with ``sigma(t) = sigma_max t^rho``: equidistant
times from 1 to ``t_min`` are exactly the noise levels of their eq. 5.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess, Prediction, like

_UNBOUNDED = (
    "grows with sigma without bound on process=edm. Use prediction=x0, which the preconditioning "
    "turns into v of unit variance."
)


class EDMProcess(NoiseProcess):
    """Variance-exploding path with the preconditioning of EDM.

    Args:
        sigma_min: smallest noise level a network is asked about, in standard deviations of the states.
        sigma_max: largest noise level, where sampling starts.
        rho: how much denser the levels are near data.
        log_sigma_mean: mean of ln(sigma) in training; EDM's -1.2 at sigma_data 0.5 is -0.5 at 1.
        log_sigma_std: standard deviation of ln(sigma) in training.
    """

    name = "edm"
    variance_preserving = False
    terminal_alpha = 1.0

    def __init__(
        self, *, sigma_min: float, sigma_max: float, rho: float, log_sigma_mean: float, log_sigma_std: float
    ) -> None:
        super().__init__()
        if not (0 < sigma_min < sigma_max and rho > 1 and log_sigma_std > 0):
            raise ValueError(
                "process=edm needs 0 < sigma_min < sigma_max, rho > 1 and log_sigma_std > 0, got "
                f"{sigma_min}, {sigma_max}, {rho} and {log_sigma_std}."
            )
        self.sigma_max, self.rho = sigma_max, rho
        self.log_sigma_mean, self.log_sigma_std = log_sigma_mean, log_sigma_std
        self.prior_scale = sigma_max
        self.t_min = (sigma_min / sigma_max) ** (1 / rho)
        self.register_buffer("sigma_data", torch.ones(()))  # measured, so it travels in the checkpoint

    @property
    def refused(self) -> dict[str, str]:
        """Targets whose size follows sigma."""
        return {"v": _UNBOUNDED, "u": _UNBOUNDED}

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale 1."""
        return torch.ones_like(t)

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale sigma_max t^rho."""
        return self.sigma_max * t**self.rho

    def alpha_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the signal scale: none."""
        return torch.zeros_like(t)

    def sigma_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the noise scale."""
        return self.sigma_max * self.rho * t ** (self.rho - 1)

    def time_at(self, noise_level: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the time at which sigma has this value."""
        return (noise_level / self.sigma_max) ** (1.0 / self.rho)

    def sample_t(self, uniform: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return times whose ln(sigma) is normally distributed."""
        log_sigma = self.log_sigma_mean + self.log_sigma_std * torch.special.ndtri(uniform)
        return torch.exp((log_sigma - math.log(self.sigma_max)) / self.rho).clamp(self.t_min, 1.0)

    def set_sigma_data(self, spread: float) -> None:
        """Take it as sigma_data."""
        self.sigma_data.fill_(spread)

    def network_input(self, x_t: Float[Tensor, "b *d"], t: Float[Tensor, "b"]) -> Tensor:
        """Return c_in x_t."""
        return like(self._input_scale(t), x_t) * x_t

    def network_level(self, t: Float[Tensor, "*b"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
        """Return c_noise = ln(sigma) / 4, of sigma_min below it, and c_in, the share of x0 in the scaled state."""
        return self.sigma(t.clamp(min=self.t_min)).log() / 4, self._input_scale(t)

    def target(self, prediction: Prediction, x0: Tensor, eps: Tensor, t: Float[Tensor, "b"]) -> Tensor:
        """Return what a network has to output; for x0, (x0 - c_skip x_t) / c_out."""
        if prediction != "x0":
            return super().target(prediction, x0, eps, t)
        c_skip, c_out = self._output_scales(x0, t)
        return (x0 - c_skip * self.add_noise(x0, eps, t)) / c_out

    def to_x0(self, prediction: Prediction, output: Tensor, x_t: Tensor, t: Float[Tensor, "b"]) -> Tensor:
        """Convert a network's output to the clean sample; for x0, c_skip x_t + c_out output."""
        if prediction != "x0":
            return super().to_x0(prediction, output, x_t, t)
        c_skip, c_out = self._output_scales(x_t, t)
        return c_skip * x_t + c_out * output

    def _input_scale(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return (self.sigma(t) ** 2 + self.sigma_data**2).rsqrt()

    def _output_scales(self, x: Tensor, t: Float[Tensor, "b"]) -> tuple[Tensor, Tensor]:
        sigma, data = like(self.sigma(t), x), self.sigma_data
        total = sigma**2 + data**2
        return data**2 / total, sigma * data * total.rsqrt()
