"""Which points of a batch of clouds are left when every cell of a grid keeps a share: :mod:`.grid_numpy` in torch."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.utils.geometry.grid_numpy import BITS, check_cell

Cells = Int[Tensor, "b n"]  # the cell of each point, as one number


def cells(points: Float[Tensor, "b n 3"], cell_m: float) -> Cells:
    """Number the cells as :func:`cells_numpy` does, without waiting for the device to check the coordinates.

    Raises:
        ValueError: a cell that is none.
    """
    check_cell(cell_m)
    half = 1 << (BITS - 1)
    x, y, z = (torch.floor(points / cell_m).long() + half).unbind(-1)
    return (x << 2 * BITS) | (y << BITS) | z


@torch.no_grad()
def kept(
    cell: Cells,
    valid: Bool[Tensor, "b n"],
    order: Int[Tensor, "b n"],
    uniform: Float[Tensor, "b n"],
    shares: Float[Tensor, "b 2"],
) -> Bool[Tensor, "b n"]:
    """Return which valid points stay of each cloud, each with its own ``shares``; see :func:`kept_numpy`."""
    n = cell.shape[1]
    cell = cell.masked_fill(~valid, torch.iinfo(torch.int64).max)  # those left out make a cell of their own
    sorted_cell, inner = cell.gather(1, order).sort(dim=1, stable=True)
    by_cell = order.gather(1, inner)
    position = torch.arange(n, device=cell.device).expand_as(cell)
    begins = torch.ones_like(valid)
    begins[:, 1:] = sorted_cell[:, 1:] != sorted_cell[:, :-1]
    begin = torch.where(begins, position, 0).cummax(1).values
    # The end of a run is where the next begins: the nearest beginning to the right.
    following = torch.where(begins, position, n).roll(-1, 1)
    following[:, -1] = n
    end = following.flip(1).cummin(1).values.flip(1)
    low, high = shares.float()[:, :1], shares.float()[:, 1:]
    share = low + (high - low) * uniform.float().gather(1, by_cell).gather(1, begin)
    keeps = torch.ceil(share * (end - begin).float()).clamp(min=1.0)
    stays = torch.zeros_like(valid)
    stays.scatter_(1, by_cell, position - begin < keeps)
    return stays & valid
