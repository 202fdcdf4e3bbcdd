"""How noise enters: a path gives alpha(t) and sigma(t), and every prediction type is converted through it.

``x_t = alpha_t * x0 + sigma_t * eps``; t = 0 is data, t = 1 is noise (the opposite of the flow-matching
libraries).
"""

import math
from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from utils.names import unknown_name

Prediction = Literal["x0", "eps", "v"]


class Path(ABC):
    """A Gaussian probability path between data and noise."""

    @abstractmethod
    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale at time ``t``."""

    @abstractmethod
    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale at time ``t``."""

    @property
    @abstractmethod
    def terminal_alpha(self) -> float:
        """Signal that is left at t = 1; exactly 0 with zero terminal SNR."""

    def noised(self, x0: Float[Tensor, "b *d"], eps: Float[Tensor, "b *d"], t: Float[Tensor, "b"]) -> Tensor:
        """Move clean samples to noise level ``t`` (Ho et al. 2020, eq. 4)."""
        return _like(self.alpha(t), x0) * x0 + _like(self.sigma(t), x0) * eps

    def target(self, prediction: Prediction, x0: Tensor, eps: Tensor, t: Float[Tensor, "b"]) -> Tensor:
        """Return what a network with this prediction type has to output."""
        if prediction == "x0":
            return x0
        if prediction == "eps":
            return eps
        if prediction == "v":  # Salimans & Ho 2022, section 4
            return _like(self.alpha(t), x0) * eps - _like(self.sigma(t), x0) * x0
        raise unknown_name("prediction", prediction, get_args(Prediction))

    def to_x0(self, prediction: Prediction, output: Tensor, x_t: Tensor, t: Float[Tensor, "b"]) -> Tensor:
        """Convert a network's output to the clean sample it implies.

        Raises:
            ValueError: unknown prediction type.
        """
        alpha, sigma = _like(self.alpha(t), x_t), _like(self.sigma(t), x_t)
        if prediction == "x0":
            return output
        if prediction == "eps":
            return (x_t - sigma * output) / alpha
        if prediction == "v":  # alpha * x_t - sigma * v, for alpha^2 + sigma^2 = 1
            return alpha * x_t - sigma * output
        raise unknown_name("prediction", prediction, get_args(Prediction))

    def check(self, prediction: Prediction) -> None:
        """Refuse a prediction type that this path cannot convert.

        Raises:
            ValueError: ``eps`` on a path without signal at t = 1, or an unknown name.
        """
        if prediction not in get_args(Prediction):
            raise unknown_name("prediction", prediction, get_args(Prediction))
        if prediction == "eps" and self.terminal_alpha == 0.0:
            raise ValueError(
                "model.prediction=eps cannot recover x0 at t = 1 on a path with zero terminal SNR (alpha = 0). "
                "Use model.prediction=v or x0, or model/path=vp_linear with zero_terminal_snr=false."
            )


class CosinePath(Path):
    """Variance-preserving path with a cosine schedule (Nichol & Dhariwal 2021, eq. 17), zero terminal SNR."""

    terminal_alpha = 0.0

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale cos(pi t / 2); exactly 0 at t = 1, where the float cosine is not."""
        return torch.where(t >= 1.0, torch.zeros_like(t), torch.cos(0.5 * math.pi * t))

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale sin(pi t / 2)."""
        return torch.sin(0.5 * math.pi * t)


class LinearPath(Path):
    """Variance-preserving path with linear beta(t) (Song et al. 2021, eq. 33).

    Args:
        beta_min: rate of noise at t = 0.
        beta_max: rate of noise at t = 1.
        zero_terminal_snr: shift and scale alpha so that nothing of the signal is left at t = 1 (Lin et al.
            2024, algorithm 1).
    """

    def __init__(self, *, beta_min: float, beta_max: float, zero_terminal_snr: bool) -> None:
        if not 0 < beta_min < beta_max:
            raise ValueError(f"model.path needs 0 < beta_min < beta_max, got {beta_min} and {beta_max}.")
        self.beta_min, self.beta_max, self.zero_terminal_snr = beta_min, beta_max, zero_terminal_snr
        self._raw_terminal = math.exp(-0.25 * (beta_max - beta_min) - 0.5 * beta_min)

    @property
    def terminal_alpha(self) -> float:
        """Signal that is left at t = 1."""
        return 0.0 if self.zero_terminal_snr else self._raw_terminal

    def alpha(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Signal scale exp(-1/2 integral of beta)."""
        raw = torch.exp(-0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min)
        if not self.zero_terminal_snr:
            return raw
        shifted = (raw - self._raw_terminal) / (1.0 - self._raw_terminal)
        return torch.where(t >= 1.0, torch.zeros_like(t), shifted.clamp(min=0.0))

    def sigma(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Noise scale sqrt(1 - alpha^2)."""
        return (1.0 - self.alpha(t) ** 2).clamp(min=0.0).sqrt()


def _like(scale: Float[Tensor, "b"], x: Float[Tensor, "b *d"]) -> Tensor:
    """Give a per-sample scale the rank of ``x``."""
    return scale.to(x.dtype).reshape(scale.shape + (1,) * (x.dim() - scale.dim()))
