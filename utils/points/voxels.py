"""Which points stand for the voxels of a grid: one of each, always the same one."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_BITS = 21  # of a cell's number along one axis; three of them fill a key


@torch.no_grad()
def voxel_sample(
    points: Float[Tensor, "b n 3"], size: float, valid: Bool[Tensor, "b n"] | None = None
) -> Bool[Tensor, "b n"]:
    """Mark, of every occupied cell of a grid of edge ``size``, the valid point with the lowest index.

    Cells are half open, with a corner at the origin. One number is read back from the device: this is for
    preparing clouds, not for the training step.

    Raises:
        ValueError: ``size`` is not positive, or a cloud spans more cells than can be numbered.
    """
    if not size > 0:
        raise ValueError(f"Expected a voxel edge of more than 0 m, got size={size}.")
    valid = torch.ones_like(points[..., 0], dtype=torch.bool) if valid is None else valid
    cells = (points.double() / size).floor().masked_fill(~valid[..., None], 0.0)
    largest = float(cells.abs().max()) if cells.numel() else 0.0
    if not largest < 2 ** (_BITS - 1):
        raise ValueError(
            f"A cloud reaches {largest * size:.3g} m from the origin, more than {2 ** (_BITS - 1)} voxels of "
            f"{size:g} m. Give metres, or raise the voxel edge."
        )
    x, y, z = (cells.long() + 2 ** (_BITS - 1)).unbind(-1)
    key = ((x << 2 * _BITS) | (y << _BITS) | z).masked_fill(~valid, -1)
    ordered, order = key.sort(dim=-1, stable=True)
    first = torch.ones_like(valid)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(valid).scatter_(1, order, first) & valid
