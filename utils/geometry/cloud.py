"""How any cloud becomes a network's input: cropped around the target and put in stratified farthest-point order."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

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


def arrange_cloud(
    points: Float[np.ndarray, "n 3"],
    object_mask: Bool[np.ndarray, "n"],
    *,
    num_points: int,
    target_share: float,
    crop_radius: float,
    choice: PointChoice,
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "m"], Bool[np.ndarray, "m"]]:
    """Arrange a raw cloud as the data set's items are arranged: the target's points and what lies near them.

    Returns:
        Indices of at most ``num_points`` points, none twice, and which of them belong to the target.

    Raises:
        ValueError: no point of the target, or see :func:`quotas`.
    """
    target, near, center = _sides(points, object_mask, crop_radius)
    want_target, want_rest = quotas(len(target), len(near), num_points, target_share)
    order, is_target = stratified_order(want_target, want_rest, target_share)
    chosen = [
        side[choice(points[side], k, center, rng)] for side, k in ((target, want_target), (near, want_rest))
    ]
    return np.concatenate(chosen)[order], is_target


def arrange_blocks(
    points: Float[np.ndarray, "n 3"],
    instance: UInt8[np.ndarray, "n"],
    target: int,
    *,
    num_points: int,
    target_share: float,
    crop_radius: float,
    choice: PointChoice,
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "m"], Bool[np.ndarray, "m"]]:
    """Arrange a cloud whose instances are blocks in farthest-point order already.

    The farthest points of such a cloud are its first: nothing is searched, only merged.

    Raises:
        ValueError: no point of the target, or see :func:`quotas`.
    """
    if choice.sampler != "farthest":
        return arrange_cloud(
            points,
            instance == target,
            num_points=num_points,
            target_share=target_share,
            crop_radius=crop_radius,
            choice=choice,
            rng=rng,
        )
    start, stop = (int(i) for i in np.searchsorted(instance, (target, target + 1)))
    if start == stop:
        raise _no_target(points)
    near = _within(points, points[start:stop].mean(0), crop_radius)
    near[start:stop] = False
    rest = np.flatnonzero(near)
    want_target, want_rest = quotas(stop - start, len(rest), num_points, target_share)
    order, is_target = stratified_order(want_target, want_rest, target_share)
    row = np.concatenate([np.arange(start, start + want_target), _first_of_blocks(rest, instance, want_rest)])
    return row[order], is_target


def _first_of_blocks(
    rest: Int[np.ndarray, "r"], instance: UInt8[np.ndarray, "n"], count: int
) -> Int[np.ndarray, "count"]:
    """Take points of several blocks in turn: the i-th of c points has rank i / c, so a prefix is fair to all blocks."""
    if len(rest) == 0:
        return rest
    blocks = np.split(rest, np.flatnonzero(np.diff(instance[rest])) + 1)
    # Of c points, c * count / r have ranks below count / r: of all blocks at least ``count``. One more for rounding.
    heads = [block[: math.ceil(len(block) * count / len(rest)) + 1] for block in blocks]
    ranks = [np.arange(len(head)) / len(block) for head, block in zip(heads, blocks, strict=True)]
    return np.concatenate(heads)[np.argsort(np.concatenate(ranks), kind="stable")[:count]]


def _no_target(points: Float[np.ndarray, "n 3"]) -> ValueError:
    return ValueError(f"Expected points of the target in the cloud, got none among {len(points)} points.")


def _within(
    points: Float[np.ndarray, "n 3"], center: Float[np.ndarray, "3"], radius: float
) -> Bool[np.ndarray, "n"]:
    """Tell which points are so near; as ``numpy.linalg.norm`` has it to the last bit, without the roots."""
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


def _sides(
    points: Float[np.ndarray, "n 3"], on_target: Bool[np.ndarray, "n"], crop_radius: float
) -> tuple[Int[np.ndarray, "t"], Int[np.ndarray, "r"], Float[np.ndarray, "3"]]:
    """Return the target's points, the others near them, and the target's visible centroid."""
    if not on_target.any():
        raise _no_target(points)
    center = points[on_target].mean(0)
    near = _within(points, center, crop_radius)
    return np.flatnonzero(on_target), np.flatnonzero(~on_target & near), center
