"""How one item is built: a cloud about the target in stratified farthest-point order, and a set of grasps."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from datasets.grasp_sampling import Strategy, choose_grasps, move_hand_pose
from utils.cloud import arrange_blocks
from utils.records import JudgedGrasps, View

FRAME = "tabletop"  # z up, table at z = 0, xy origin at the mean of the target's visible points


@dataclass(frozen=True, kw_only=True)
class ItemSettings:
    """How items are built; ``config/data`` says what each number means."""

    num_points: int
    target_share: float
    crop_radius: float
    num_grasps: int
    num_failures: int
    grasp_strategy: Strategy
    min_robustness: float
    yaw: bool
    jitter_m: float


def build_item(
    view: View,
    target: int,
    judged: JudgedGrasps,
    settings: ItemSettings,
    augment: bool,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return the arrays of one item, named as :class:`~utils.batch.GraspBatch` names them."""
    s = settings
    points, is_target = arrange_blocks(
        view.points,
        view.instance,
        target + 1,
        num_points=s.num_points,
        target_share=s.target_share,
        crop_radius=s.crop_radius,
    )
    centre = points[is_target].mean(0)
    yaw = rng.uniform(-np.pi, np.pi) if augment and s.yaw else 0.0
    T_frame_world = _about(centre, yaw)
    points = points @ T_frame_world[:3, :3].T + T_frame_world[:3, 3]
    if augment and s.jitter_m > 0.0:
        points = points + s.jitter_m * rng.normal(size=points.shape)
    grasps = _grasps(judged, s, T_frame_world, rng)
    missing = s.num_points - len(points)
    return {
        "scene_pc": np.pad(points, ((0, missing), (0, 0))).astype(np.float32),
        "point_valid": np.arange(s.num_points) < len(points),
        "object_mask": np.pad(is_target, (0, missing)),
        "viewpoint": (T_frame_world[:3, :3] @ view.T_world_cam[:3, 3] + T_frame_world[:3, 3]).astype(
            np.float32
        ),
        "up": np.array([0.0, 0.0, 1.0], dtype=np.float32),
        "T_world_frame": np.linalg.inv(T_frame_world).astype(np.float32),
        **grasps,
    }


def _about(centre: Float[np.ndarray, "3"], yaw: float) -> Float[np.ndarray, "4 4"]:
    """Return T_frame_world: the tabletop frame under ``centre``, turned by ``yaw`` about the vertical."""
    c, s = np.cos(yaw), np.sin(yaw)
    T = np.eye(4)
    T[:2, :2] = [[c, -s], [s, c]]
    T[:2, 3] = -T[:2, :2] @ centre[:2]
    return T


def _grasps(
    judged: JudgedGrasps, s: ItemSettings, T_frame_world: Float[np.ndarray, "4 4"], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw successes, then failures; short sets are filled up behind the mask."""
    poses = judged.grasps.hand_pose
    robust = ~(judged.robustness < s.min_robustness)  # unmeasured robustness passes
    good, bad = np.flatnonzero(judged.success & robust), np.flatnonzero(~judged.success)
    rows, valid = [], []
    for candidates, count in ((good, s.num_grasps), (bad, s.num_failures)):
        chosen = (
            candidates[choose_grasps(poses[candidates], count, s.grasp_strategy, rng)]
            if len(candidates)
            else good[:0]
        )
        filler = np.zeros(count - len(chosen), dtype=np.int64)
        rows.append(np.concatenate([chosen, filler]))
        valid.append(np.arange(count) < len(chosen))
    row, ok = np.concatenate(rows), np.concatenate(valid)
    if len(poses) == 0:  # an object without a tested grasp: every slot is masked
        width, joints = poses.shape[1], judged.grasps.squeeze_qpos.shape[1]
        hand_pose = np.zeros((len(row), width))
        hand_pose[:, -4] = 1.0
        nothing = np.zeros((len(row), joints), np.float32)
        return {
            "hand_pose": hand_pose.astype(np.float32),
            "pregrasp_qpos": nothing,
            "squeeze_qpos": nothing,
            "grasp_valid": ok,
            "grasp_success": ok.copy(),
            "grasp_robustness": np.full(len(row), np.nan, np.float32),
        }
    return {
        "hand_pose": move_hand_pose(poses[row].astype(np.float64), T_frame_world).astype(np.float32),
        "pregrasp_qpos": judged.grasps.pregrasp_qpos[row].astype(np.float32),
        "squeeze_qpos": judged.grasps.squeeze_qpos[row].astype(np.float32),
        "grasp_valid": ok,
        "grasp_success": judged.success[row] & ok,
        "grasp_robustness": judged.robustness[row].astype(np.float32),
    }
