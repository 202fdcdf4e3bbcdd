"""How one item is built: a cloud about the target in stratified farthest-point order, and a set of grasps."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from datasets.augmentation import Augmentation, move_hand_pose
from datasets.grasp_sampling import GraspDistance, Strategy, choose_grasps
from utils.cloud import arrange_blocks
from utils.point_choice import PointChoice
from utils.records import Grasps, JudgedGrasps, Outcome, View

FRAME = "tabletop"  # z up, table at z = 0, xy origin at the mean of the target's visible points


@dataclass(frozen=True, kw_only=True)
class ItemSettings:
    """How items are built; ``config/data`` says what each number means."""

    num_points: int
    target_share: float
    crop_radius: float
    points: PointChoice
    num_grasps: int
    num_failures: int
    grasp_strategy: Strategy
    grasp_distance: GraspDistance
    min_robustness: float

    def __post_init__(self) -> None:
        rules = {
            "num_points": (self.num_points >= 1, "at least 1"),
            "target_share": (0.0 < self.target_share < 1.0, "between 0 and 1"),
            "crop_radius": (self.crop_radius > 0.0, "more than 0"),
            "num_grasps": (self.num_grasps >= 1, "at least 1"),
            "num_failures": (self.num_failures >= 0, "at least 0"),
            "min_robustness": (0.0 <= self.min_robustness <= 1.0, "0 to 1"),
        }
        for key, (holds, expected) in rules.items():
            if not holds:
                raise ValueError(f"data.{key}: expected {expected}, got {getattr(self, key)}.")


def build_item(
    view: View,
    target: int,
    judged: JudgedGrasps,
    settings: ItemSettings,
    augmentation: Augmentation | None,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return the arrays of one item, named as :class:`~utils.batch.GraspBatch` names them.

    Of its grasps the first ``num_grasps`` are successes and the rest failures, each filled up behind the mask.

    Raises:
        ValueError: no point of the target is visible.
    """
    if not (view.instance == target + 1).any():
        raise ValueError(f"Object {target} has no visible point; an item needs one. Raise data.min_points.")
    s = settings
    cloud = view.points.astype(np.float64)
    chosen, is_target = arrange_blocks(
        cloud,
        view.instance,
        target + 1,
        num_points=s.num_points,
        target_share=s.target_share,
        crop_radius=s.crop_radius,
        choice=s.points,
        rng=rng,
    )
    points = cloud[chosen]
    T_world_frame = np.eye(4)
    T_world_frame[:2, 3] = points[is_target, :2].mean(0)
    missing = s.num_points - len(points)
    item = {
        "scene_pc": np.pad(points - T_world_frame[:3, 3], ((0, missing), (0, 0))),
        "point_valid": np.arange(s.num_points) < len(points),
        "object_mask": np.pad(is_target, (0, missing)),
        "viewpoint": view.T_world_cam[:3, 3] - T_world_frame[:3, 3],
        "up": np.array([0.0, 0.0, 1.0]),
        "T_world_frame": T_world_frame,
        **_grasps(judged, s, T_world_frame, rng),
    }
    if augmentation is not None:
        item = augmentation(item, rng)
    return {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in item.items()}


def _grasps(
    judged: JudgedGrasps, s: ItemSettings, T_world_frame: Float[np.ndarray, "4 4"], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw successes, then failures; short sets are filled up behind the mask."""
    robust = ~(judged.robustness < s.min_robustness)  # unmeasured robustness passes
    drawn = (
        _draw(judged, np.flatnonzero(judged.success & robust), s.num_grasps, s, rng),
        _draw(judged, np.flatnonzero(~judged.success), s.num_failures, s, rng),
    )
    row, valid = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    if len(judged.grasps) == 0:  # an object without a tested grasp: the filling is the identity
        judged = _nothing(judged)
    return {
        "hand_pose": move_hand_pose(
            judged.grasps.hand_pose[row].astype(np.float64), np.linalg.inv(T_world_frame)
        ),
        "pregrasp_qpos": judged.grasps.pregrasp_qpos[row].astype(np.float32),
        "squeeze_qpos": judged.grasps.squeeze_qpos[row].astype(np.float32),
        "grasp_valid": valid,
        "grasp_success": judged.success[row] & valid,
        "grasp_robustness": judged.robustness[row].astype(np.float32),
    }


def _draw(
    judged: JudgedGrasps,
    candidates: Int[np.ndarray, "m"],
    count: int,
    s: ItemSettings,
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "c"], np.ndarray]:
    """Return ``count`` rows and which of them were drawn; the others are filling."""
    poses = judged.grasps.hand_pose[candidates]
    chosen = candidates[choose_grasps(poses, count, s.grasp_strategy, s.grasp_distance, rng)]
    filling = np.zeros(count - len(chosen), dtype=np.int64)
    return np.concatenate([chosen, filling]), np.arange(count) < len(chosen)


def _nothing(judged: JudgedGrasps) -> JudgedGrasps:
    """Return one row of the same widths, at the identity."""
    hand_pose = np.zeros((1, judged.grasps.hand_pose.shape[1]), np.float32)
    hand_pose[:, -4] = 1.0
    qpos = np.zeros((1, judged.grasps.squeeze_qpos.shape[1]), np.float32)
    zero = np.zeros(1, np.float32)
    return JudgedGrasps(
        grasps=Grasps(hand_pose, qpos, qpos),
        success=np.zeros(1, bool),
        direction_success=np.zeros((1, judged.direction_success.shape[1]), bool),
        outcome=np.full(1, Outcome.NOT_RUN, np.uint8),
        penetration_m=zero,
        self_penetration_m=zero,
        clearance_m=zero,
        robustness=np.full(1, np.nan, np.float32),
    )
