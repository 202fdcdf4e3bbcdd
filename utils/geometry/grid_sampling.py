"""Which points of a cloud are left when every cell of a grid keeps a share of its own: clouds as thin as one asks.

One random order of the points and one stable sort by cell: a point's place among those of its cell is then a uniformly
random one, and it stays if that place is below what the cell keeps. Nothing loops over cells, nothing is remembered.
With the same random numbers the numpy and the torch form keep the same points.
"""

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.utils.core.names import unknown_name

Scenario = Literal["full", "half", "single"]
Cells = Int[Tensor, "b n"]  # the cell of each point, as one number

# A cell is three numbers of this many bits in one integer: 10 km in cells of 5 mm.
_BITS = 21


def cell_shares(scenario: str, ratio: tuple[float, float]) -> tuple[float, float]:
    """Return the range that the kept share of each cell is drawn from; a cell never keeps less than one point.

    Args:
        scenario: ``full`` keeps all, ``half`` a share in ``ratio`` of each cell, ``single`` one point.
        ratio: smallest and largest share of ``half``.

    Raises:
        ValueError: unknown scenario, or a ratio that is no range within (0, 1].
    """
    low, high = ratio
    if not 0.0 < low <= high <= 1.0:
        raise ValueError(f"ratio: expected 0 < low <= high <= 1, got [{low}, {high}].")
    shares = {"full": (1.0, 1.0), "half": (low, high), "single": (0.0, 0.0)}
    if scenario not in shares:
        raise unknown_name("density scenario", scenario, get_args(Scenario))
    return shares[scenario]


def grid_subsample_numpy(
    points: Float[np.ndarray, "n 3"],
    *,
    scenario: str,
    cell_m: float,
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> Int[np.ndarray, "m"]:
    """Return the indices, ascending, of the points that a scenario keeps of one cloud.

    Raises:
        ValueError: an empty cloud, a cell that is none, a cloud too wide for the cell, or see :func:`cell_shares`.
    """
    shares = cell_shares(scenario, ratio)
    cell = cells_numpy(points, cell_m)
    order, uniform = rng.permutation(len(points)), rng.random(len(points), dtype=np.float32)
    return np.flatnonzero(kept_numpy(cell, order, uniform, shares))


def cells_numpy(points: Float[np.ndarray, "n 3"], cell_m: float) -> Int[np.ndarray, "n"]:
    """Number the cells of a grid that is fixed in the cloud's frame.

    Raises:
        ValueError: an empty cloud, a cell that is none, or a cloud too wide for the cell.
    """
    _check_cell(cell_m)
    if len(points) == 0:
        raise ValueError("Expected a cloud to sample from, got one without points.")
    place = np.floor(points / points.dtype.type(cell_m))
    half = 1 << (_BITS - 1)
    # Written so that NaN is refused, too.
    if not np.abs(place).max() < half:
        raise ValueError(
            f"Expected finite coordinates within {half * cell_m:.4g} m of the origin, which cells of {cell_m:g} m "
            f"reach; got up to {np.abs(points).max():.4g}. Are the points in metres? Or use larger cells."
        )
    x, y, z = place.astype(np.int64).T + half
    return (x << 2 * _BITS) | (y << _BITS) | z


def places_numpy(cell: Int[np.ndarray, "n"], order: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Return the place of each point in ``order`` among those of its cell."""
    by_cell, begins, counts = _by_cell(cell, order)
    place = np.empty(len(cell), np.int64)
    place[by_cell] = np.arange(len(cell)) - np.repeat(begins, counts)
    return place


def kept_numpy(
    cell: Int[np.ndarray, "n"],
    order: Int[np.ndarray, "n"],
    uniform: Float[np.ndarray, "n"],
    shares: tuple[float, float],
) -> Bool[np.ndarray, "n"]:
    """Return which points stay when each cell of c points keeps ``ceil(share * c)`` of them, and at least one.

    A cell's share lies between the two ``shares``, at the ``uniform`` number of its first point in ``order``.
    """
    by_cell, begins, counts = _by_cell(cell, order)
    low, high = (np.float32(share) for share in shares)
    share = low + (high - low) * uniform[by_cell[begins]].astype(np.float32)
    keeps = np.maximum(np.ceil(share * counts.astype(np.float32)), 1).astype(np.int64)
    stays = np.empty(len(cell), dtype=bool)
    stays[by_cell] = np.arange(len(cell)) < np.repeat(begins + keeps, counts)
    return stays


def _by_cell(
    cell: Int[np.ndarray, "n"], order: Int[np.ndarray, "n"]
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "c"], Int[np.ndarray, "c"]]:
    """Return the points sorted by cell, in ``order`` within each; where each cell begins, and its number of points."""
    by_cell = order[np.argsort(cell[order], kind="stable")]
    sorted_cell = cell[by_cell]
    begins = np.flatnonzero(np.concatenate([[True], sorted_cell[1:] != sorted_cell[:-1]]))
    return by_cell, begins, np.diff(np.append(begins, len(cell)))


def cells(points: Float[Tensor, "b n 3"], cell_m: float) -> Cells:
    """Number the cells as :func:`cells_numpy` does, without waiting for the device to check the coordinates.

    Raises:
        ValueError: a cell that is none.
    """
    _check_cell(cell_m)
    half = 1 << (_BITS - 1)
    x, y, z = (torch.floor(points / cell_m).long() + half).unbind(-1)
    return (x << 2 * _BITS) | (y << _BITS) | z


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


def _check_cell(cell_m: float) -> None:
    if not cell_m > 0.0:
        raise ValueError(f"cell_m: expected more than 0 m, got {cell_m}.")
