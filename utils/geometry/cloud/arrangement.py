"""Which points of a cloud are kept, of the target and near it, in an order whose every prefix is a fair sample."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from sceneleapultra.utils.geometry.point_choice import PointChoice


def quotas(num_target: int, num_rest: int, num_points: int, target_share: float) -> tuple[int, int]:
    """Return how many points of target and rest make a cloud; when one side is short the other fills its places.

    Raises:
        ValueError: a cloud of no points, or a share that leaves one side none.
    """
    if num_points < 1:
        raise ValueError(f"num_points: expected at least 1, got {num_points}.")
    if not 0.0 < target_share < 1.0:
        raise ValueError(f"target_share: expected between 0 and 1, got {target_share}.")
    want_target = min(num_target, round(num_points * target_share))
    want_rest = min(num_rest, num_points - want_target)
    return min(num_target, num_points - want_rest), want_rest


@lru_cache(maxsize=4096)  # most clouds have enough points of both sides, and so the same order
def stratified_order(
    want_target: int, want_rest: int, target_share: float
) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Interleave a target block with the rest of a scene so that every prefix holds a fixed share of the target.

    What one side has too many of comes after the interleaved part.

    Returns:
        Positions in the concatenation (target, rest), and for each whether it is a target point.
    """
    # Rank of each point in the merged sequence: the i-th target point comes at (i + 1/2) / share, and so on.
    rank_target = (np.arange(want_target) + 0.5) / target_share
    rank_rest = (np.arange(want_rest) + 0.5) / (1.0 - target_share)
    order = np.argsort(np.concatenate([rank_target, rank_rest]), kind="stable")
    is_target = order < want_target
    order.flags.writeable = is_target.flags.writeable = False
    return order, is_target


def select_points(
    points: Float[np.ndarray, "n 3"],
    object_mask: Bool[np.ndarray, "n"],
    *,
    num_points: int,
    target_share: float,
    crop_radius: float,
    choice: PointChoice,
    rng: np.random.Generator,
    target_is_ordered: bool = False,
) -> tuple[Int[np.ndarray, "m"], Bool[np.ndarray, "m"]]:
    """Choose points of the target and of what lies near its visible centroid, and interleave them.

    Where the target's points stand in farthest-point order already, the first of them are its farthest points.

    Returns:
        Indices of at most ``num_points`` points, none twice, and which of them belong to the target.

    Raises:
        ValueError: no point of the target, or see :func:`quotas`.
    """
    if not object_mask.any():
        raise ValueError(f"Expected points of the target in the cloud, got none among {len(points)} points.")
    center = points[object_mask].mean(0)
    target = np.flatnonzero(object_mask)
    rest = np.flatnonzero(within(points, center, crop_radius) & ~object_mask)
    want_target, want_rest = quotas(len(target), len(rest), num_points, target_share)
    order, is_target = stratified_order(want_target, want_rest, target_share)
    if target_is_ordered and choice.sampler == "farthest":
        target = target[:want_target]
    else:
        target = target[choice(points[target], want_target, center, rng)]
    rest = rest[choice(points[rest], want_rest, center, rng)]
    return np.concatenate([target, rest])[order], is_target


def within(
    points: Float[np.ndarray, "n 3"], center: Float[np.ndarray, "3"], radius: float
) -> Bool[np.ndarray, "n"]:
    """Return which points are at most ``radius`` away, with the result of ``numpy.linalg.norm`` but no square roots."""
    x, y, z = (np.square(points[:, axis] - center[axis]) for axis in range(3))
    x += y
    x += z
    return x <= _largest_square(radius)


@lru_cache(maxsize=16)
def _largest_square(radius: float) -> float:
    """Return the largest number whose root is rounded to at most ``radius``."""
    square = radius * radius
    while math.sqrt(square) > radius:
        square = math.nextafter(square, 0.0)
    while math.sqrt(above := math.nextafter(square, math.inf)) <= radius:
        square = above
    return square
