"""How noise enters: a path gives alpha(t) and sigma(t), and every prediction type is converted through it.

``x_t = alpha_t * x0 + sigma_t * eps``; t = 0 is data, t = 1 is noise (the opposite of the flow-matching
libraries). The variance-preserving paths in continuous time live here, the others in files of their own.
"""

import math
from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.utils.core.names import unknown_name

States = Float[Tensor, "b g d"]  # normalized states of grasps
Prediction = Literal["x0", "eps", "v", "u"]
_NO_SIGNAL = (
    "cannot recover x0 at t = 1 on a path with zero terminal SNR (alpha = 0). "
    "Use prediction=v or x0, or process=vp_linear with zero_terminal_snr=false."
)


class NoiseProcess(nn.Module, ABC):
    """A Gaussian probability path between data and noise; a module, so that what it measures is saved and moved.

    Attributes:
        name: of the process, for messages.
        variance_preserving: whether alpha^2 + sigma^2 = 1 at every time.
        continuous: whether alpha and sigma have derivatives, which flows need.
        num_steps: of a path that is known at discrete steps only.
        prior_scale: standard deviation of x_t at t = 1, where sampling starts.
        t_min: smallest time above 0 that a network is asked about.
        sigma_data: standard deviation of the clean states.
    """

    name: str
    variance_preserving: bool = True
    continuous: bool = True
    num_steps: int | None = None
    prior_scale: float = 1.0
    t_min: float = 0.01
    sigma_data: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sigma_data", torch.ones(()), persistent=False)

    @abstractmethod
    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale at time ``t``."""

    @abstractmethod
    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale at time ``t``."""

    @abstractmethod
    def alpha_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the signal scale, for t in [t_min, 1]."""

    @abstractmethod
    def sigma_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the noise scale, for t in [t_min, 1]."""

    @property
    @abstractmethod
    def terminal_alpha(self) -> float:
        """Signal that is left at t = 1; exactly 0 with zero terminal SNR."""

    @property
    def refused(self) -> dict[str, str]:
        """Prediction types that make no sense on this path, each with the reason and the remedy."""
        return {"eps": _NO_SIGNAL} if self.terminal_alpha == 0.0 else {}

    # Training

    def sample_t(self, uniform: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Turn uniform numbers in [0, 1) into the times to train on."""
        return uniform

    def pair_noise(
        self, x0: States, eps: States, condition: Int[Tensor, "b g"], valid: Bool[Tensor, "b g"]
    ) -> States:
        """Return the noise in the order in which it is paired with the clean samples: here, as it was drawn."""
        return eps

    def set_sigma_data(self, spread: float) -> None:
        """Take in the standard deviation of clean normalized states, where the path needs it."""

    def add_noise(
        self, x0: Float[Tensor, "b *d"], eps: Float[Tensor, "b *d"], t: Float[Tensor, "b"]
    ) -> Tensor:
        """Move clean samples to noise level ``t`` (Ho et al. 2020, eq. 4)."""
        return like(self.alpha(t), x0) * x0 + like(self.sigma(t), x0) * eps

    def velocity(self, x_t: Tensor, x0: Tensor, t: Float[Tensor, "*b"]) -> Tensor:
        """Return dx_t/dt of the probability flow where the expected clean sample is ``x0``; needs sigma > 0."""
        alpha, sigma, alpha_dot, sigma_dot = self._scales(x_t, t)
        return alpha_dot * x0 + (sigma_dot / sigma) * (x_t - alpha * x0)

    # The network

    def network_input(self, x_t: Float[Tensor, "b *d"], t: Float[Tensor, "b"]) -> Tensor:
        """Return the state as a network is shown it, scaled."""
        return x_t

    def network_level(self, t: Float[Tensor, "*b"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
        """Return what a network is told: the noise level, and the share of x0 in the state it is shown."""
        return t, self.alpha(t)

    def target(self, prediction: Prediction, x0: Tensor, eps: Tensor, t: Float[Tensor, "b"]) -> Tensor:
        """Return what a network with this prediction type has to output.

        Raises:
            ValueError: unknown prediction type.
        """
        if prediction == "x0":
            return x0
        if prediction == "eps":
            return eps
        alpha, sigma = like(self.alpha(t), x0), like(self.sigma(t), x0)
        if prediction == "v":  # Salimans & Ho 2022, section 4
            return alpha * eps - sigma * x0
        if prediction == "u":  # Lipman et al. 2023, eq. 15
            return like(self.alpha_dot(t), x0) * x0 + like(self.sigma_dot(t), x0) * eps
        raise unknown_name("prediction", prediction, get_args(Prediction))

    def to_x0(self, prediction: Prediction, output: Tensor, x_t: Tensor, t: Float[Tensor, "b"]) -> Tensor:
        """Convert a network's output to the clean sample it implies.

        Raises:
            ValueError: unknown prediction type.
        """
        if prediction == "x0":
            return output
        alpha, sigma = like(self.alpha(t), x_t), like(self.sigma(t), x_t)
        if prediction == "eps":
            return (x_t - sigma * output) / alpha
        if prediction == "v":  # alpha * x_t - sigma * v = (alpha^2 + sigma^2) x0
            return (alpha * x_t - sigma * output) / (alpha**2 + sigma**2)
        if prediction == "u":  # sigma' * x_t - sigma * u = (alpha sigma' - alpha' sigma) x0
            alpha, sigma, alpha_dot, sigma_dot = self._scales(x_t, t)
            return (sigma_dot * x_t - sigma * output) / (alpha * sigma_dot - alpha_dot * sigma)
        raise unknown_name("prediction", prediction, get_args(Prediction))

    def check(self, prediction: Prediction) -> None:
        """Refuse a prediction type that this path cannot convert.

        Raises:
            ValueError: ``eps`` on a path without signal at t = 1 and the like, or an unknown name.
        """
        if prediction not in get_args(Prediction):
            raise unknown_name("prediction", prediction, get_args(Prediction))
        if prediction in self.refused:
            raise ValueError(f"prediction={prediction} {self.refused[prediction]}")

    # Sampling

    def on_grid(self, times: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Move times to the nearest ones the path has, where it has only some."""
        return times

    def time_at(self, noise_level: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the time at which sigma / alpha has this value.

        Raises:
            ValueError: a path that has none, see ``continuous``.
        """
        raise ValueError(f"process={self.name} has no time for every noise level.")

    def _scales(self, x: Tensor, t: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, sigma = like(self.alpha(t), x), like(self.sigma(t), x)
        return alpha, sigma, like(self.alpha_dot(t), x), like(self.sigma_dot(t), x)


class CosineProcess(NoiseProcess):
    """Variance-preserving path with a cosine schedule (Nichol & Dhariwal 2021, eq. 17), zero terminal SNR."""

    name = "cosine"
    terminal_alpha = 0.0

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale cos(pi t / 2); exactly 0 at t = 1, where the float cosine is not."""
        return torch.where(t >= 1.0, torch.zeros_like(t), torch.cos(0.5 * math.pi * t))

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale sin(pi t / 2)."""
        return torch.sin(0.5 * math.pi * t)

    def alpha_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the signal scale."""
        return -0.5 * math.pi * self.sigma(t)

    def sigma_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the noise scale."""
        return 0.5 * math.pi * self.alpha(t)

    def time_at(self, noise_level: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the time at which sigma / alpha = tan(pi t / 2) has this value."""
        return 2.0 / math.pi * torch.atan(noise_level)


class LinearProcess(NoiseProcess):
    """Variance-preserving path with linear beta(t) (Song et al. 2021, eq. 33).

    Args:
        beta_min: rate of noise at t = 0.
        beta_max: rate of noise at t = 1.
        zero_terminal_snr: shift and scale alpha so that nothing of the signal is left at t = 1 (Lin et al.
            2024, algorithm 1).
    """

    name = "vp_linear"

    def __init__(self, *, beta_min: float, beta_max: float, zero_terminal_snr: bool) -> None:
        super().__init__()
        if not 0 < beta_min < beta_max:
            raise ValueError(f"process.noise needs 0 < beta_min < beta_max, got {beta_min} and {beta_max}.")
        self.beta_min, self.beta_max, self.zero_terminal_snr = beta_min, beta_max, zero_terminal_snr
        self._raw_terminal = math.exp(-0.25 * (beta_max - beta_min) - 0.5 * beta_min)

    @property
    def terminal_alpha(self) -> float:
        """Signal that is left at t = 1."""
        return 0.0 if self.zero_terminal_snr else self._raw_terminal

    @property
    def refused(self) -> dict[str, str]:
        """The velocity grows without bound towards data: sigma^2 begins linearly, sigma as a square root."""
        return super().refused | {
            "u": "is infinite at t = 0 on process=vp_linear (dsigma/dt is). "
            "Use prediction=v or x0, or process=cosine or flow."
        }

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale exp(-1/2 integral of beta)."""
        raw = self._raw_alpha(t)
        if not self.zero_terminal_snr:
            return raw
        shifted = (raw - self._raw_terminal) / (1.0 - self._raw_terminal)
        return torch.where(t >= 1.0, torch.zeros_like(t), shifted.clamp(min=0.0))

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale sqrt(1 - alpha^2)."""
        return (1.0 - self.alpha(t) ** 2).clamp(min=0.0).sqrt()

    def alpha_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the signal scale, -beta(t) / 2 times the unshifted signal."""
        rate = -0.5 * (self.beta_min + t * (self.beta_max - self.beta_min)) * self._raw_alpha(t)
        return rate / (1.0 - self._raw_terminal) if self.zero_terminal_snr else rate

    def sigma_dot(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Rate of change of the noise scale, from alpha^2 + sigma^2 = 1."""
        return -self.alpha(t) * self.alpha_dot(t) / self.sigma(t)

    def time_at(self, noise_level: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the time at which sigma / alpha has this value, the root of a quadratic in t."""
        alpha = (1.0 + noise_level**2).rsqrt()
        raw = alpha * (1.0 - self._raw_terminal) + self._raw_terminal if self.zero_terminal_snr else alpha
        half, span = 0.5 * self.beta_min, self.beta_max - self.beta_min
        return 2.0 * ((half**2 - span * raw.log()).sqrt() - half) / span

    def _raw_alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.exp(-0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min)


def like(scale: Float[Tensor, "*b"], x: Tensor) -> Tensor:
    """Give a per-sample scale the rank of ``x``."""
    return scale.to(x.dtype).reshape(scale.shape + (1,) * (x.dim() - scale.dim()))
