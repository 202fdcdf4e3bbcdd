"""Points by the cubic cells that they lie in."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Cells(NamedTuple):
    """The cells that hold points, in a fixed order."""

    centers: Float[np.ndarray, "m 3"]  # mean of the points in each
    owner: Int[np.ndarray, "n"]  # cell of each point
    first: Int[np.ndarray, "m"]  # one point of each


def cells_of(points: Float[np.ndarray, "n 3"], size: float) -> Cells:
    """Sort points into cells of a size (m); the same points give the same cells."""
    points = np.asarray(points, dtype=np.float64)
    index = np.floor(points / size).astype(np.int64)
    if len(index):
        index -= index.min(0)
    _, ny, nz = (int(n) for n in index.max(0, initial=0) + 1)
    key = (index[:, 0] * ny + index[:, 1]) * nz + index[:, 2]
    _, first, owner = np.unique(key, return_index=True, return_inverse=True)
    owner = owner.ravel()
    count = np.bincount(owner, minlength=len(first))
    sums = np.stack([np.bincount(owner, points[:, axis], len(first)) for axis in range(3)], axis=-1)
    return Cells(sums / np.maximum(count, 1)[:, None], owner, first)
