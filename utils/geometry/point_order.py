"""Farthest-point order of one cloud, in numpy; needs no torch."""

import numpy as np
from jaxtyping import Float, Int

CHOSEN = -2.0  # squared distance of points that are not to be chosen again


def farthest_point_order_numpy(
    points: Float[np.ndarray, "n 3"], k: int, start: int = 0
) -> Int[np.ndarray, "k"]:
    """Return the same indices as ``farthest_point_order`` for one cloud; fast below about 10000.

    Raises:
        ValueError: ``k`` or ``start`` does not fit the number of points.
    """
    check_order(len(points), k, start)
    axes = np.ascontiguousarray(points.T, dtype=np.float32)
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    order = np.empty(k, dtype=np.int64)
    delta = np.empty_like(axes)
    x, y, z = delta
    columns = axes[:, :, None]
    current = start
    for i in range(k):
        order[i] = current
        np.subtract(axes, columns[:, current], out=delta)
        np.multiply(delta, delta, out=delta)
        np.add(x, y, out=x)
        np.add(x, z, out=x)
        np.minimum(nearest, x, out=nearest)
        nearest[current] = CHOSEN
        current = int(nearest.argmax())
    return order


def check_order(n: int, k: int, start: int) -> None:
    """Refuse an order of more points than there are, or a start that is none of them."""
    if not 1 <= k <= n:
        raise ValueError(f"Expected to order 1 to {n} points (the size of the cloud), got k={k}. Lower k.")
    if not 0 <= start < n:
        raise ValueError(f"Expected a start index from 0 to {n - 1}, got start={start}.")
