"""What simulation makes, the store keeps and evaluation measures: plain frozen records of numpy arrays.

Metres, radians, kilograms. World frame: z up, table top at z = 0. ``T_a_b`` maps points of frame b into a.
Axes: k objects of a scene, n points, g grasps, j hand joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16

from sceneleapultra.utils.columns import STORED_COLUMNS

SPLITS = ("train", "val", "test", "test_family")


class Outcome(IntEnum):
    """Why a grasp passed or failed its protocol."""

    SUCCESS = 0
    PREGRASP_PENETRATION = 1  # hand deeper than the protocol's limit in the object at the pre-grasp
    SELF_PENETRATION = 2  # hand deeper than the limit in itself at the pre-grasp
    MOVED_IN_SQUEEZE = 3  # object lost before any force was applied
    SLIPPED = 4  # object lost under the force (or during the lift)
    NO_CONTACT = 5  # fingers never reached the object
    SCENE_COLLISION = 6  # hand in the table or in a neighboring object
    NOT_RUN = 7  # the simulation diverged: no verdict, counted apart
    CLAIMED = 8  # stable by the word of the data set it was converted from: no verdict of ours
    # Of a lift out of the scene; SLIPPED and NO_CONTACT as above.
    START_BLOCKED = 9  # no path to the grasp begins where the hand is free
    TABLE_FORCE = 10  # hand pressed on the table in the approach
    NEIGHBOR_FORCE = 11  # hand pressed on a neighbor in the approach
    NEIGHBOR_SHOVED = 12  # a neighbor was moved too far
    TARGET_SHOVED = 13  # object pushed away before the fingers closed; not picked
    FINGERS_ON_TABLE = 14  # fingers pressed on the table while closing; not picked
    NOT_LIFTED = 15  # touched, but left on the table


_UNTRIED = (Outcome.SCENE_COLLISION, Outcome.NOT_RUN, Outcome.START_BLOCKED)


class GraspType(IntEnum):
    """What kind of grasp it is: the coarse classes of the GRASP taxonomy (Feix et al. 2016)."""

    UNKNOWN = 0  # not looked at, or nothing touches
    POWER = 1  # the palm or inner links bear
    PRECISION = 2  # fingertips only
    LATERAL = (
        3  # the tip of the thumb against the inner links of one finger (the taxonomy's intermediate class)
    )


@dataclass(frozen=True)
class ObjectRecord:
    """A rigid object: a watertight surface, its convex pieces (for contact and distance) and its mass.

    The object frame has its origin at the center of mass of the uniform solid.
    """

    name: str  # unique, for example "mug-000017"
    family: str
    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    pieces: tuple[Float[np.ndarray, "_ 3"], ...]  # vertices of each convex piece
    mass: float
    piece_part: UInt8[np.ndarray, "p"] | None = None  # of each piece, see Part; None where no part has a name


@dataclass(frozen=True)
class Scene:
    """Objects as they lie, on a table at z = 0 (``table=True``) or afloat alone."""

    objects: tuple[ObjectRecord, ...]
    T_world_object: Float[np.ndarray, "k 4 4"]
    table: bool


@dataclass(frozen=True)
class View:
    """One partial cloud of a scene, as a depth camera saw it."""

    T_world_cam: Float[np.ndarray, "4 4"]  # camera: x right, y down, z forward
    K: Float[np.ndarray, "3 3"]
    points: Float[np.ndarray, "n 3"]  # world frame
    rgb: UInt8[np.ndarray, "n 3"]
    instance: UInt8[np.ndarray, "n"]  # 0 table, i + 1 object i of the scene


RowIndex = slice | int | Bool[np.ndarray, "g"] | Int[np.ndarray, "m"]


RowTable = TypeVar("RowTable", bound="_Columns")


@dataclass(frozen=True)
class _Columns:
    """Columns of equally many rows: arrays, columns again, or None where a column is absent."""

    def _columns(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: column for name, column in values.items() if column is not None}

    def __len__(self) -> int:
        return len(next(iter(self._columns().values())))

    def __getitem__(self: RowTable, rows: RowIndex) -> RowTable:
        """Return some of the rows: a slice, a mask, numbers, or one number for a set of one."""
        rows = _rows(rows, len(self))
        return type(self)(**{name: column[rows] for name, column in self._columns().items()})

    @classmethod
    def concatenate(cls: type[RowTable], parts: Sequence[RowTable]) -> RowTable:
        """Join sets of rows of equal width, in order.

        Raises:
            ValueError: nothing to join, or a column that some have and others have not.
        """
        if not parts:
            raise ValueError(f"{cls.__name__}.concatenate: expected at least one set of grasps, got none.")
        tables = [part._columns() for part in parts]
        if some := {name for table in tables for name in table if any(name not in t for t in tables)}:
            raise ValueError(
                f"{cls.__name__}.concatenate: {', '.join(sorted(some))} is in some of the parts only."
            )
        return cls(**{name: _joined([table[name] for table in tables]) for name in tables[0]})


@dataclass(frozen=True)
class Grasps(_Columns):
    """Grasps of one object as triples (pre-grasp, grasp, squeeze) that share one hand base pose.

    A pre-grasp or squeeze that nobody knows is NaN, for all grasps of a store or for none.
    ``hand_pose`` is [translation 3, joints j, quaternion wxyz 4] of the hand base in the world frame.

    ``approach`` is where the hand starts, as an offset of its base from ``hand_pose``: from there it moves straight to
    the grasp, turned as it is there, joints at the pre-grasp. NaN or None: whoever executes the grasp chooses.
    """

    hand_pose: Float[np.ndarray, "g p"]
    pregrasp_qpos: Float[np.ndarray, "g j"]
    squeeze_qpos: Float[np.ndarray, "g j"]
    approach: Float[np.ndarray, "g 3"] | None = None

    def waypoints(self, number: int) -> Float[np.ndarray, "g w 7"]:
        """Return base poses [position 3, quaternion wxyz 4] from the start of the approach to the grasp.

        Raises:
            ValueError: a grasp whose approach nobody chose, or fewer than two way-points.
        """
        if self.approach is None or np.isnan(self.approach).any() or number < 2:
            raise ValueError(
                f"Way-points are at least two, of grasps with an approach; got number={number}, approach "
                f"{self.approach}. Try the grasps by protocol scene-lift, which chooses one, or set it."
            )
        share = np.linspace(1.0, 0.0, number)[:, None]
        position = self.hand_pose[:, None, :3] + share * self.approach[:, None]
        quat = np.broadcast_to(self.hand_pose[:, None, -4:], (len(self), number, 4))
        return np.concatenate([position, quat], axis=-1)


GRASP_COLUMNS = ("hand_pose", "pregrasp_qpos", "squeeze_qpos")
VERDICT_COLUMNS = tuple(column.name for column in STORED_COLUMNS)


@dataclass(frozen=True)
class LabeledGrasps(_Columns):
    """Grasps of one object of a scene with the stored columns of ``utils/columns.py``; failures are kept.

    Where a foreign data set only claims that its grasps hold, no direction has succeeded and no length is known (NaN).
    """

    grasps: Grasps
    success: Bool[np.ndarray, "g"]
    direction_success: Bool[np.ndarray, "g d"]
    outcome: UInt8[np.ndarray, "g"]
    penetration_m: Float[np.ndarray, "g"]
    self_penetration_m: Float[np.ndarray, "g"]
    clearance_m: Float[np.ndarray, "g"]
    robustness: Float[np.ndarray, "g"]
    grasp_type: UInt8[np.ndarray, "g"]  # see GraspType
    held_part: UInt8[np.ndarray, "g"]  # see Part
    touched_parts: UInt16[np.ndarray, "g"]  # bits of Part
    disturbance: Float[np.ndarray, "g"]  # NaN where no trial saw table and neighbors

    @classmethod
    def none(cls, num_joints: int, num_directions: int) -> "LabeledGrasps":
        """Return no grasps at all, in columns of the right widths."""
        qpos = np.zeros((0, num_joints))
        return cls(
            grasps=Grasps(np.zeros((0, 7 + num_joints)), qpos, qpos),
            **{c.name: np.zeros((0, *(num_directions for _ in c.row)), c.dtype) for c in STORED_COLUMNS},
        )

    @cached_property
    def stable(self) -> Float[np.ndarray, "g"]:
        """1 where the grasp is stable (or is claimed to be), 0 where it is not, NaN where it was not tried.

        A grasp in collision with the scene is usually not tried; where it was, its directions or its outcome say so.
        Of a lift it is whether the object came up, cleanly or not.
        """
        stable = self.success | self.direction_success.all(-1)
        untried = ~stable & np.isin(self.outcome, _UNTRIED)
        return np.where(untried, np.nan, stable.astype(float))

    @property
    def lifted(self) -> Bool[np.ndarray, "g"]:
        """Which grasps were tried in the whole scene, so that the trial says what table and neighbors suffered."""
        return np.isfinite(self.disturbance) | (self.outcome == Outcome.START_BLOCKED)

    @property
    def collision_free(self) -> Float[np.ndarray, "g"]:
        """1 where table and neighbors were spared, 0 where not, NaN where that is not known.

        Where the trial saw them, a light touch is none: what counts is its ``disturbance``. Else any touch counts.
        """
        spared, free = self.disturbance <= 1.0, self.clearance_m >= 0.0
        unknown = ~self.lifted & np.isnan(self.clearance_m)
        return np.where(unknown, np.nan, np.where(self.lifted, spared, free).astype(float))

    def worth_learning(self, min_robustness: float, min_clearance_m: float) -> Bool[np.ndarray, "g"]:
        """Return which grasps are stable, robustly and far enough from table and neighbors where that was measured.

        Where a trial saw table and neighbors, its success says that they were far enough.
        """
        fragile, close = self.robustness < min_robustness, self.clearance_m < min_clearance_m
        return np.where(self.lifted, self.success, (self.stable == 1.0) & ~close) & ~fragile


def _joined(columns: list[Any]) -> Any:
    first = columns[0]
    return first.concatenate(columns) if isinstance(first, _Columns) else np.concatenate(columns)


def _rows(rows: RowIndex, length: int) -> slice | np.ndarray:
    """Turn one number into a set of one, so that no axis is lost."""
    return np.arange(length)[[rows]] if isinstance(rows, int | np.integer) else rows


@dataclass(frozen=True)
class SceneRecord:
    """One generated scene, complete: what one unit of generation writes."""

    index: int
    split: str  # train, val, test or test_family
    seed: int
    scene: Scene
    views: tuple[View, ...]
    labeled: tuple[LabeledGrasps, ...]  # one per object of the scene
