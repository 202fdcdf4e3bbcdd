"""How one item is built: a cloud about the target in stratified farthest-point order, and a set of grasps.

What is the same in every epoch, a :class:`Sight` and a :class:`GraspPool`, is made once and remembered; drawing grasps
from them and stacking them is all that is left to do for a batch.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial.transform import Rotation

from sceneleapultra.datasets.augmentation.frame import move_hand_pose
from sceneleapultra.datasets.items.grasp_sampling import GraspChoice
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.geometry.cloud import arrange_blocks
from sceneleapultra.utils.geometry.frames import MODES, item_frame
from sceneleapultra.utils.geometry.point_choice import PointChoice
from sceneleapultra.utils.records import LabeledGrasps, View

_QUATERNION_TOLERANCE = 1e-3
_NUM_VERDICTS = 3  # columns of robustness, hold and clear


@dataclass(frozen=True, kw_only=True)
class ItemSettings:
    """How items are built; ``config/data`` says what each number means."""

    frame: str
    num_points: int
    target_share: float
    crop_radius: float
    points: PointChoice
    colors: bool
    num_grasps: int
    num_failures: int
    grasps: GraspChoice
    min_robustness: float
    min_clearance_m: float

    def __post_init__(self) -> None:
        if self.frame not in MODES:
            raise unknown_name("data.frame", self.frame, MODES)
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
    frame_from_world: Float[np.ndarray, "7"]  # the inverse of T_world_frame: translation and quaternion wxyz


@dataclass(frozen=True)
class GraspPool:
    """The grasps of an object one may draw from, world frame; row 0 exists always, to fill up behind the mask."""

    table: Float[
        np.ndarray, "g c"
    ]  # hand_pose, pregrasp_qpos, squeeze_qpos; robustness, hold, clear, side by side
    good: Int[np.ndarray, "s"]  # rows worth learning, in the order in which they are dealt
    bad: Int[np.ndarray, "f"]  # the other rows

    @property
    def num_joints(self) -> int:
        """Joints of the hand: the table has 3 + j + 4, j, j and 3 columns."""
        return (self.table.shape[1] - 7 - _NUM_VERDICTS) // 3

    @property
    def hand_pose(self) -> Float[np.ndarray, "g p"]:
        """Hand poses in the world."""
        return self.table[:, : self.num_joints + 7]

    @property
    def robustness(self) -> Float[np.ndarray, "g"]:
        """Robustness, NaN where not measured."""
        return self.table[:, -_NUM_VERDICTS]


def see(
    view: View,
    target: int,
    settings: ItemSettings,
    rng: np.random.Generator,
    T_world_object: Float[np.ndarray, "4 4"] | None = None,
) -> Sight:
    """Arrange a view about a target, whose pose the frame ``object_centric`` needs.

    Only samplers other than ``farthest`` ask ``rng``.

    Raises:
        ValueError: no point of the target is visible, or points that are no numbers.
    """
    start, stop = np.searchsorted(view.instance, (target + 1, target + 2))  # instances are blocks
    if start == stop:
        raise ValueError(f"Object {target} has no visible point; an item needs one. Raise data.min_points.")
    s = settings
    if not np.isfinite(view.points).all():
        raise ValueError(f"{(~np.isfinite(view.points).all(1)).sum()} points are not finite numbers.")
    points = np.asarray(view.points, dtype=np.float64)
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
    T_world_frame = item_frame(s.frame, arranged, is_target, view.T_world_cam, T_world_object)
    R, t = T_world_frame[:3, :3], T_world_frame[:3, 3]

    def filled(rows: np.ndarray, dtype: Any) -> np.ndarray:
        if len(rows) == s.num_points:
            return rows.astype(dtype, copy=False)
        places = np.zeros((s.num_points, *rows.shape[1:]), dtype)
        places[: len(rows)] = rows
        return places

    return Sight(
        scene_pc=filled((arranged - t) @ R, np.float32),
        point_valid=filled(np.ones(len(arranged), bool), bool),
        object_mask=filled(is_target, bool),
        viewpoint=((view.T_world_cam[:3, 3] - t) @ R).astype(np.float32),
        up=R[2].astype(np.float32),
        T_world_frame=T_world_frame.astype(np.float32),
        scene_rgb=filled(view.rgb[row], np.uint8) if s.colors else None,
        frame_from_world=np.concatenate([-t @ R, _quat_wxyz(R.T.tobytes())], dtype=np.float32),
    )


@lru_cache(maxsize=1024)  # the frames of a view's items are turned alike, and in the mode tabletop not at all
def _quat_wxyz(rotation: bytes) -> Float[np.ndarray, "4"]:
    return Rotation.from_matrix(np.frombuffer(rotation).reshape(3, 3)).as_quat(scalar_first=True)


def gather(labeled: LabeledGrasps, settings: ItemSettings) -> GraspPool:
    """Collect what may be drawn of an object's grasps.

    Raises:
        ValueError: a grasp that is no number, or whose quaternion is no rotation.
    """
    g = labeled.grasps
    columns = [np.asarray(a, np.float32) for a in (g.hand_pose, g.pregrasp_qpos, g.squeeze_qpos)]
    # A pre-grasp or squeeze that nobody knows is NaN in all grasps of a store.
    unknown = [False, *(bool(np.isnan(column).all()) for column in columns[1:])]
    if not all(u or np.isfinite(column).all() for u, column in zip(unknown, columns, strict=True)):
        raise ValueError("Grasps hold values that are not finite numbers.")
    if (np.abs(np.linalg.norm(columns[0][:, -4:], axis=1) - 1.0) > _QUATERNION_TOLERANCE).any():
        raise ValueError("Grasps hold quaternions that are not of unit length.")
    verdicts = [np.asarray(a, np.float32) for a in (labeled.robustness, labeled.hold, labeled.clear)]
    learned = labeled.worth_learning(settings.min_robustness, settings.min_clearance_m)
    table = np.concatenate([*columns, np.stack(verdicts, axis=1)], axis=1)
    if len(table) == 0:  # an object without a tested grasp: the filling is the identity
        table = np.zeros((1, table.shape[1]), np.float32)
        table[0, columns[0].shape[1] - 4], table[0, -_NUM_VERDICTS:] = 1.0, np.nan
    return GraspPool(table, good=np.flatnonzero(learned), bad=np.flatnonzero(~learned))


@dataclass(frozen=True)
class Drawn:
    """The grasps of an item, in the world frame: ``num_grasps`` places for successes, then those for failures."""

    table: Float[np.ndarray, "k c"]  # as in GraspPool
    num_good: int
    num_bad: int


def draw(pool: GraspPool, settings: ItemSettings, chunk: int | None, rng: np.random.Generator) -> Drawn:
    """Return the grasps of an item.

    Args:
        pool: of the object.
        settings: of items.
        chunk: which share of the successes, in the order of ``pool.good``; None draws them.
        rng: of the draws.
    """
    s, pose, quality = settings, pool.hand_pose, pool.robustness
    if chunk is None:
        good = pool.good[s.grasps.draw(pose, quality, pool.good, s.num_grasps, rng)]
    else:
        good = pool.good[chunk * s.num_grasps : (chunk + 1) * s.num_grasps]
    bad = pool.bad[s.grasps.draw(pose, quality, pool.bad, s.num_failures, rng)]
    row = np.zeros(s.num_grasps + s.num_failures, dtype=np.int64)
    row[: len(good)] = good
    row[s.num_grasps : s.num_grasps + len(bad)] = bad
    return Drawn(pool.table[row], len(good), len(bad))


_SIGHT_FIELDS = tuple(f.name for f in fields(Sight) if f.name != "frame_from_world")


def collate(sights: list[Sight], drawn: list[Drawn], num_grasps: int, **rest: Any) -> GraspBatch:
    """Stack items into a batch and express their grasps in the frame of each.

    Args:
        sights: of the items.
        drawn: of the items; places behind the drawn ones are filling, behind the mask.
        num_grasps: places for successes.
        rest: further fields of the batch.
    """
    columns = {name: [getattr(sight, name) for sight in sights] for name in _SIGHT_FIELDS}
    stacked: dict[str, Any] = {
        name: torch.from_numpy(np.stack(c)) for name, c in columns.items() if c[0] is not None
    }
    table = torch.from_numpy(np.stack([one.table for one in drawn]))
    j = (table.shape[-1] - 7 - _NUM_VERDICTS) // 3
    hand_pose, pregrasp, squeeze, verdicts = table.split((j + 7, j, j, _NUM_VERDICTS), dim=-1)
    robustness, hold, clear = verdicts.unbind(-1)
    good, bad = torch.tensor([(one.num_good, one.num_bad) for one in drawn]).T[..., None]
    place = torch.arange(table.shape[1])
    success = place < good
    motion = torch.from_numpy(np.stack([sight.frame_from_world for sight in sights]))
    return GraspBatch(
        **stacked,
        hand_pose=move_hand_pose(hand_pose, motion[:, :3], motion[:, 3:]),
        pregrasp_qpos=pregrasp,
        squeeze_qpos=squeeze,
        grasp_valid=success | ((place >= num_grasps) & (place < num_grasps + bad)),
        grasp_success=success,
        grasp_robustness=robustness,
        grasp_stable=hold,
        grasp_collision_free=clear,
        **rest,
    )
