"""How a decoder knows the noise level."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FourierTime(nn.Module):
    """Embeds time in [0, 1] by sinusoids, as Vaswani et al. 2017 embed positions up to 1000; float32 throughout."""

    frequency: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        exponent = torch.arange(dim // 2, dtype=torch.float32) * (-math.log(1e4) * 2 / dim)
        # In double precision and rounded once: single precision's exp rounds otherwise on other processors.
        frequency = exponent.double().exp().to(torch.float32)
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Embed."""
        angle = 1000.0 * t.float()[:, None] * self.frequency
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


def time_layers(dim: int, dim_time: int) -> nn.Sequential:
    """Return the layers behind the sinusoids, to a vector of ``dim_time`` numbers."""
    return nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim_time), nn.SiLU())
