"""Which grasps of an object enter an item: strategies by name, over translation, rotation and joints."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from utils.names import unknown_name

Strategy = Literal["random", "farthest_point"]
# Lengths that count alike in the distance of two grasps: 5 cm of translation, 1 rad of rotation, 1 rad of joints (rms).
_TRANSLATION_M, _ROTATION_RAD, _JOINTS_RAD = 0.05, 1.0, 1.0


def choose_grasps(
    hand_pose: Float[np.ndarray, "g p"], count: int, strategy: Strategy, rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Return ``min(count, g)`` different rows.

    Raises:
        ValueError: unknown strategy.
    """
    if strategy == "random":
        return rng.permutation(len(hand_pose))[:count]
    if strategy == "farthest_point":
        return _farthest(hand_pose, min(count, len(hand_pose)), int(rng.integers(len(hand_pose))))
    raise unknown_name("data.grasp_strategy", strategy, get_args(Strategy))


def grasp_distance(one: Float[np.ndarray, "p"], others: Float[np.ndarray, "g p"]) -> Float[np.ndarray, "g"]:
    """Return the distance of grasps, sqrt of the sum of squared translation, geodesic and joint terms."""
    translation = np.linalg.norm(others[:, :3] - one[:3], axis=-1) / _TRANSLATION_M
    cosine = np.abs(others[:, -4:] @ one[-4:]).clip(0.0, 1.0)
    rotation = 2.0 * np.arccos(cosine) / _ROTATION_RAD
    joints = np.sqrt(np.mean((others[:, 3:-4] - one[3:-4]) ** 2, axis=-1)) / _JOINTS_RAD
    return np.sqrt(translation**2 + rotation**2 + joints**2)


def _farthest(hand_pose: Float[np.ndarray, "g p"], count: int, start: int) -> Int[np.ndarray, "m"]:
    chosen = [start]
    nearest = grasp_distance(hand_pose[start], hand_pose)
    while len(chosen) < count:
        nearest[chosen[-1]] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, grasp_distance(hand_pose[chosen[-1]], hand_pose))
    return np.array(chosen)


def move_hand_pose(
    hand_pose: Float[np.ndarray, "g p"], T: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "g p"]:
    """Express grasps in frame a, given ``T = T_a_b`` and poses in b."""
    if len(hand_pose) == 0:
        return hand_pose.copy()
    turned = Rotation.from_matrix(T[:3, :3]) * Rotation.from_quat(hand_pose[:, -4:], scalar_first=True)
    moved = hand_pose.copy()
    moved[:, :3] = hand_pose[:, :3] @ T[:3, :3].T + T[:3, 3]
    moved[:, -4:] = turned.as_quat(scalar_first=True)
    return moved
