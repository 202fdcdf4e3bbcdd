"""What may be changed of a training item so that its grasps stay true: turns about the vertical, noise on points.

Scaling and mirroring are not offered: the hand neither grows with an object nor has a mirror image.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Acts on all of an item jointly; ``config/data`` says what each number means."""

    yaw: bool
    jitter_m: float

    def __call__(self, item: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the item, changed at random."""
        turned = turn(item, rng.uniform(-np.pi, np.pi)) if self.yaw else dict(item)
        return jitter(turned, self.jitter_m, rng) if self.jitter_m > 0.0 else turned


def turn(item: Mapping[str, np.ndarray], yaw: float) -> dict[str, np.ndarray]:
    """Express an item in a frame turned about its origin and the vertical; the scene itself stays as it is."""
    T_new_old = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    T_new_old[:2, :2] = [[c, -s], [s, c]]
    R = T_new_old[:3, :3]
    return {
        **item,
        "scene_pc": item["scene_pc"] @ R.T,
        "viewpoint": R @ item["viewpoint"],
        "up": R @ item["up"],
        "T_world_frame": item["T_world_frame"] @ T_new_old.T,  # the inverse of a rotation
        "hand_pose": move_hand_pose(item["hand_pose"], T_new_old),
    }


def jitter(item: Mapping[str, np.ndarray], sigma_m: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Add independent noise to the points that are there."""
    noise = sigma_m * rng.normal(size=item["scene_pc"].shape)
    return {**item, "scene_pc": item["scene_pc"] + np.where(item["point_valid"][:, None], noise, 0.0)}


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
