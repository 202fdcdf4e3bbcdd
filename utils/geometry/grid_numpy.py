"""Which points of a cloud are left when every cell of a grid keeps a share of its own: clouds as thin as one asks.

One random order of the points and one stable sort by cell: a point's place among those of its cell is then a uniformly
random one, and it stays if that place is below what the cell keeps. Nothing loops over cells, nothing is remembered.
With the same random numbers this and :mod:`.grid_sampling`, the form in torch, keep the same points. Needs no torch.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from sceneleapultra.utils.core.names import unknown_name

Scenario = Literal["full", "half", "single"]

# A cell is three numbers of this many bits in one integer: 10 km in cells of 5 mm.
BITS = 21


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
    check_cell(cell_m)
    if len(points) == 0:
        raise ValueError("Expected a cloud to sample from, got one without points.")
    place = np.floor(points / points.dtype.type(cell_m))
    half = 1 << (BITS - 1)
    # Written so that NaN is refused, too.
    if not np.abs(place).max() < half:
        raise ValueError(
            f"Expected finite coordinates within {half * cell_m:.4g} m of the origin, which cells of {cell_m:g} m "
            f"reach; got up to {np.abs(points).max():.4g}. Are the points in metres? Or use larger cells."
        )
    x, y, z = place.astype(np.int64).T + half
    return (x << 2 * BITS) | (y << BITS) | z


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


def check_cell(cell_m: float) -> None:
    """Refuse a cell that is none."""
    if not cell_m > 0.0:
        raise ValueError(f"cell_m: expected more than 0 m, got {cell_m}.")
