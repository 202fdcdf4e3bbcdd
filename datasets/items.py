"""How one item is built: a cloud about the target in stratified farthest-point order, and a set of grasps.

What is the same in every epoch, a :class:`Sight` and a :class:`GraspPool`, is made once and remembered; drawing grasps
from them and stacking them is all that is left to do for a batch.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from datasets.augmentation.frame import inverse, move_hand_pose
from datasets.grasp_sampling import GraspChoice
from utils.batch import GraspBatch
from utils.cloud import arrange_blocks
from utils.point_choice import PointChoice
from utils.records import JudgedGrasps, View

FRAME = "tabletop"  # z up, table at z = 0, xy origin at the mean of the target's visible points
_QUATERNION_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class ItemSettings:
    """How items are built; ``config/data`` says what each number means."""

    num_points: int
    target_share: float
    crop_radius: float
    points: PointChoice
    colours: bool
    num_grasps: int
    num_failures: int
    grasps: GraspChoice
    min_robustness: float
    min_clearance_m: float

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


@dataclass(frozen=True)
class Sight:
    """A target as a view shows it, in the frame of the item; fields as :class:`~utils.batch.GraspBatch` names them."""

    scene_pc: Float[np.ndarray, "n 3"]
    point_valid: Bool[np.ndarray, "n"]
    object_mask: Bool[np.ndarray, "n"]
    viewpoint: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    T_world_frame: Float[np.ndarray, "4 4"]
    scene_rgb: UInt8[np.ndarray, "n 3"] | None


@dataclass(frozen=True)
class GraspPool:
    """The grasps of an object one may draw from, world frame; row 0 exists always, to fill up behind the mask."""

    hand_pose: Float[np.ndarray, "g p"]
    pregrasp_qpos: Float[np.ndarray, "g j"]
    squeeze_qpos: Float[np.ndarray, "g j"]
    robustness: Float[np.ndarray, "g"]
    hold: Float[np.ndarray, "g"]
    clear: Float[np.ndarray, "g"]
    good: Int[np.ndarray, "s"]  # rows worth learning, in the order in which they are dealt
    bad: Int[np.ndarray, "f"]  # the other rows


def see(view: View, target: int, settings: ItemSettings, rng: np.random.Generator) -> Sight:
    """Arrange a view about a target; only samplers other than ``farthest`` ask ``rng``.

    Raises:
        ValueError: no point of the target is visible, or points that are no numbers.
    """
    if not (view.instance == target + 1).any():
        raise ValueError(f"Object {target} has no visible point; an item needs one. Raise data.min_points.")
    s = settings
    points = np.asarray(view.points, dtype=np.float64)
    if not np.isfinite(points).all():
        raise ValueError(f"{(~np.isfinite(points).all(1)).sum()} points are not finite numbers.")
    row, is_target = arrange_blocks(
        points,
        view.instance,
        target + 1,
        num_points=s.num_points,
        target_share=s.target_share,
        crop_radius=s.crop_radius,
        choice=s.points,
        rng=rng,
    )
    arranged = points[row]
    T_world_frame = np.eye(4)
    T_world_frame[:2, 3] = arranged[is_target, :2].mean(0)
    R, t = T_world_frame[:3, :3], T_world_frame[:3, 3]
    num, missing = len(arranged), s.num_points - len(arranged)
    return Sight(
        scene_pc=np.pad((arranged - t) @ R, ((0, missing), (0, 0))).astype(np.float32),
        point_valid=np.arange(s.num_points) < num,
        object_mask=np.pad(is_target, (0, missing)),
        viewpoint=((view.T_world_cam[:3, 3] - t) @ R).astype(np.float32),
        up=R[2].astype(np.float32),
        T_world_frame=T_world_frame.astype(np.float32),
        scene_rgb=np.pad(view.rgb[row], ((0, missing), (0, 0))) if s.colours else None,
    )


def gather(judged: JudgedGrasps, settings: ItemSettings) -> GraspPool:
    """Collect what may be drawn of an object's grasps.

    Raises:
        ValueError: a grasp that is no number, or whose quaternion is no rotation.
    """
    g = judged.grasps
    columns = [np.asarray(a, np.float32) for a in (g.hand_pose, g.pregrasp_qpos, g.squeeze_qpos)]
    # A pre-grasp or squeeze that nobody knows is NaN in all grasps of a store.
    unknown = [False, *(bool(np.isnan(column).all()) for column in columns[1:])]
    if not all(u or np.isfinite(column).all() for u, column in zip(unknown, columns, strict=True)):
        raise ValueError("Grasps hold values that are not finite numbers.")
    if (np.abs(np.linalg.norm(columns[0][:, -4:], axis=1) - 1.0) > _QUATERNION_TOLERANCE).any():
        raise ValueError("Grasps hold quaternions that are not of unit length.")
    verdicts = [np.asarray(a, np.float32) for a in (judged.robustness, judged.hold, judged.clear)]
    learned = judged.worth_learning(settings.min_robustness, settings.min_clearance_m)
    if len(g) == 0:  # an object without a tested grasp: the filling is the identity
        columns = [np.zeros((1, column.shape[1]), np.float32) for column in columns]
        columns[0][:, -4] = 1.0
        verdicts = [np.full(1, np.nan, np.float32) for _ in verdicts]
    return GraspPool(*columns, *verdicts, good=np.flatnonzero(learned), bad=np.flatnonzero(~learned))


def draw(
    pool: GraspPool, settings: ItemSettings, chunk: int | None, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the grasps of an item, still in the world frame.

    The first ``num_grasps`` are worth learning and the rest are not, each filled up behind the mask.

    Args:
        pool: of the object.
        settings: of items.
        chunk: which share of the successes, in the order of ``pool.good``; None draws them.
        rng: of the draws.
    """
    s = settings
    if chunk is None:
        good = pool.good[
            s.grasps.draw(pool.hand_pose[pool.good], pool.robustness[pool.good], s.num_grasps, rng)
        ]
    else:
        good = pool.good[chunk * s.num_grasps : (chunk + 1) * s.num_grasps]
    bad = pool.bad[s.grasps.draw(pool.hand_pose[pool.bad], pool.robustness[pool.bad], s.num_failures, rng)]
    row = np.zeros(s.num_grasps + s.num_failures, dtype=np.int64)
    valid, success = np.zeros(len(row), dtype=bool), np.zeros(len(row), dtype=bool)
    row[: len(good)], row[s.num_grasps : s.num_grasps + len(bad)] = good, bad
    success[: len(good)] = True
    valid[: len(good)] = valid[s.num_grasps : s.num_grasps + len(bad)] = True
    return {
        "hand_pose": pool.hand_pose[row],
        "pregrasp_qpos": pool.pregrasp_qpos[row],
        "squeeze_qpos": pool.squeeze_qpos[row],
        "grasp_valid": valid,
        "grasp_success": success,
        "grasp_robustness": pool.robustness[row],
        "grasp_hold": pool.hold[row],
        "grasp_clear": pool.clear[row],
    }


_SIGHT_FIELDS = tuple(f.name for f in fields(Sight))


def collate(sights: list[Sight], grasps: list[dict[str, np.ndarray]], **rest: Any) -> GraspBatch:
    """Stack items into a batch and express their grasps in the frame of each; ``rest`` are further fields."""
    columns = {name: [getattr(sight, name) for sight in sights] for name in _SIGHT_FIELDS}
    columns |= {name: [drawn[name] for drawn in grasps] for name in grasps[0]}
    stacked: dict[str, Any] = {
        name: torch.from_numpy(np.stack(c)) for name, c in columns.items() if c[0] is not None
    }
    stacked["hand_pose"] = move_hand_pose(stacked["hand_pose"], inverse(stacked["T_world_frame"]))
    return GraspBatch(**stacked, **rest)
