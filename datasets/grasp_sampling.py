"""Which grasps of an object enter an item: strategies by name, over translation, rotation and joints."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from utils.names import unknown_name

Strategy = Literal["random", "farthest_point"]


@dataclass(frozen=True, kw_only=True)
class GraspDistance:
    """How different two grasps are: sqrt(dt^2 / translation_m^2 + geodesic^2 / rotation_rad^2 + dq^2 / joints_rad^2).

    ``dq`` is the root mean square over the joints. Each length is the difference that counts as one.
    """

    translation_m: float
    rotation_rad: float
    joints_rad: float

    def __call__(
        self, one: Float[np.ndarray, "p"], others: Float[np.ndarray, "g p"]
    ) -> Float[np.ndarray, "g"]:
        """Return the distance of each of the others to one (hand poses)."""
        translation = np.linalg.norm(others[:, :3] - one[:3], axis=-1) / self.translation_m
        # Both signs of a quaternion are one rotation.
        cosine = np.abs(others[:, -4:] @ one[-4:]).clip(0.0, 1.0)
        rotation = 2.0 * np.arccos(cosine) / self.rotation_rad
        joints = np.sqrt(np.mean((others[:, 3:-4] - one[3:-4]) ** 2, axis=-1)) / self.joints_rad
        return np.sqrt(translation**2 + rotation**2 + joints**2)


def choose_grasps(
    hand_pose: Float[np.ndarray, "g p"],
    count: int,
    strategy: Strategy,
    distance: GraspDistance,
    rng: np.random.Generator,
) -> Int[np.ndarray, "m"]:
    """Return ``min(count, g)`` different rows.

    ``random``: every subset is equally likely. ``farthest_point``: starts at a random grasp, then always takes the one
    farthest from those taken.

    Raises:
        ValueError: unknown strategy.
    """
    if strategy not in get_args(Strategy):
        raise unknown_name("data.grasp_strategy", strategy, get_args(Strategy))
    count = min(count, len(hand_pose))
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    if strategy == "random":
        return rng.permutation(len(hand_pose))[:count]
    return _farthest(hand_pose.astype(np.float64), count, int(rng.integers(len(hand_pose))), distance)


def _farthest(
    hand_pose: Float[np.ndarray, "g p"], count: int, start: int, distance: GraspDistance
) -> Int[np.ndarray, "m"]:
    chosen = [start]
    nearest = distance(hand_pose[start], hand_pose)
    nearest[start] = -1.0
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distance(hand_pose[chosen[-1]], hand_pose))
        nearest[chosen] = -1.0
    return np.array(chosen)
