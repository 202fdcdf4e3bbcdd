"""How far points are from the target, roughly but fast: its distance on a grid, interpolated."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

_PAD_M = 0.03
_CELLS = 40  # along the longest side


class DistanceGrid:
    """A signed distance, trilinear between grid points; outside the grid a lower bound."""

    def __init__(
        self,
        distance: Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]],
        low: Float[Tensor, "3"],
        high: Float[Tensor, "3"],
    ) -> None:
        self._low, self._high = low - _PAD_M, high + _PAD_M
        size = self._high - self._low
        counts = (size / (size.max() / _CELLS)).ceil().long() + 1
        axes = [
            torch.linspace(float(a), float(b), int(n))
            for a, b, n in zip(self._low, self._high, counts, strict=True)
        ]
        x, y, z = torch.meshgrid(*axes, indexing="ij")
        values = distance(torch.stack((x, y, z), dim=-1).reshape(-1, 3)).reshape(x.shape)
        # grid_sample wants the last coordinate first.
        self._values = values.permute(2, 1, 0)[None, None].contiguous()

    def __call__(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n"]:
        """Return the distance of points in the frame of the grid."""
        flat = points.reshape(1, 1, 1, -1, 3)
        inside = torch.minimum(torch.maximum(flat, self._low), self._high)
        scaled = (inside - self._low) * (2 / (self._high - self._low)) - 1
        value = grid_sample(self._values, scaled, mode="bilinear", padding_mode="border", align_corners=True)
        # Beyond the border the distance is at least what is missing to the grid.
        beyond = (flat - inside).square().sum(-1).clamp_min(1e-12).sqrt()
        value, beyond = value.reshape(-1), beyond.reshape(-1)
        return torch.where(beyond > 1e-6, torch.maximum(value, beyond), value).reshape(points.shape[:-1])
