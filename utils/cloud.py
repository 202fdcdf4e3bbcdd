"""How any cloud becomes a network's input: cropped around the target and put in stratified farthest-point order."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from utils.points import farthest_point_order_numpy


def stratified_order(
    num_target: int, num_rest: int, num_points: int, target_share: float
) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Interleave a target block with the rest of a scene so that every prefix holds a fixed share of the target.

    When one side is short the other fills its places, after the interleaved part.

    Returns:
        Positions in the concatenation (target, rest), and for each whether it is a target point; shorter than
        ``num_points`` when both sides together are.
    """
    want_target = min(num_target, round(num_points * target_share))
    want_rest = min(num_rest, num_points - want_target)
    want_target = min(num_target, num_points - want_rest)
    # Rank of each point in the merged sequence: the i-th target point comes at (i + 1/2) / share, and so on.
    rank_target = (np.arange(want_target) + 0.5) / target_share
    rank_rest = (np.arange(want_rest) + 0.5) / (1.0 - target_share)
    order = np.argsort(np.concatenate([rank_target, rank_rest]), kind="stable")
    is_target = order < want_target
    return np.where(is_target, order, order - want_target + num_target), is_target


def arrange_cloud(
    points: Float[np.ndarray, "n 3"],
    object_mask: Bool[np.ndarray, "n"],
    *,
    num_points: int,
    target_share: float,
    crop_radius: float,
) -> tuple[Float[np.ndarray, "m 3"], Bool[np.ndarray, "m"]]:
    """Arrange a raw cloud as the data set's items are arranged: the target's points and what lies near them.

    Returns:
        At most ``num_points`` points, and which of them belong to the target.
    """
    target, rest = points[object_mask], points[~object_mask]
    rest = rest[np.linalg.norm(rest - target.mean(0), axis=-1) <= crop_radius]
    target = target[farthest_point_order_numpy(target, min(len(target), num_points))]
    rest = rest[farthest_point_order_numpy(rest, min(len(rest), num_points))] if len(rest) else rest
    order, is_target = stratified_order(len(target), len(rest), num_points, target_share)
    return np.concatenate([target, rest])[order], is_target


def arrange_blocks(
    points: Float[np.ndarray, "n 3"],
    instance: UInt8[np.ndarray, "n"],
    target: int,
    *,
    num_points: int,
    target_share: float,
    crop_radius: float,
) -> tuple[Float[np.ndarray, "m 3"], Bool[np.ndarray, "m"]]:
    """Arrange a cloud whose instances are blocks in farthest-point order already: nothing is searched, only merged."""
    on_target = instance == target
    near = np.linalg.norm(points - points[on_target].mean(0), axis=-1) <= crop_radius
    own, rest = points[on_target], points[~on_target & near]
    # The k-th points of the other blocks stand together, so that a prefix of the rest is fair to all of them.
    kinds = instance[~on_target & near]
    rank = np.concatenate([np.arange(c) / c for c in np.bincount(kinds) if c]) if len(kinds) else np.zeros(0)
    rest = rest[np.argsort(rank, kind="stable")]
    order, is_target = stratified_order(len(own), len(rest), num_points, target_share)
    return np.concatenate([own, rest])[order], is_target
