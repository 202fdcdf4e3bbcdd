"""What simulation makes, the store keeps and evaluation judges: plain frozen records of numpy arrays.

Metres, radians, kilograms. World frame: z up, table top at z = 0. ``T_a_b`` maps points of frame b into a.
Axes: k objects of a scene, n points, g grasps, j hand joints.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8


class Outcome(IntEnum):
    """Why a grasp passed or failed its protocol."""

    SUCCESS = 0
    PREGRASP_PENETRATION = 1  # hand deeper than the protocol's limit in the object at the pre-grasp
    SELF_PENETRATION = 2  # hand deeper than the limit in itself at the pre-grasp
    MOVED_IN_SQUEEZE = 3  # object lost before any force was applied
    SLIPPED = 4  # object lost under the force (or during the lift)
    NO_CONTACT = 5  # fingers never reached the object
    SCENE_COLLISION = 6  # hand in the table or in a neighbouring object
    NOT_RUN = 7  # the simulation diverged: no verdict, counted apart
    CLAIMED = 8  # holds, says the data set it was converted from: no verdict of ours


@dataclass(frozen=True)
class ObjectRecord:
    """A rigid object: a watertight surface, its convex pieces (for contact and distance) and its mass.

    The object frame has its origin at the centre of mass of the uniform solid.
    """

    name: str  # unique, for example "mug-000017"
    family: str
    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    pieces: tuple[Float[np.ndarray, "_ 3"], ...]  # vertices of each convex piece
    mass: float


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


@dataclass(frozen=True)
class Grasps:
    """Grasps of one object as triples (pre-grasp, grasp, squeeze) that share one hand base pose.

    A pre-grasp or squeeze that nobody knows is NaN, for all grasps of a store or for none.
    ``hand_pose`` is [translation 3, joints j, quaternion wxyz 4] of the hand base in the world frame.
    """

    hand_pose: Float[np.ndarray, "g p"]
    pregrasp_qpos: Float[np.ndarray, "g j"]
    squeeze_qpos: Float[np.ndarray, "g j"]

    def __len__(self) -> int:
        return len(self.hand_pose)


@dataclass(frozen=True)
class JudgedGrasps:
    """Grasps of one object of a scene with the verdict of a protocol; failures are kept."""

    grasps: Grasps
    success: Bool[np.ndarray, "g"]  # passed in every direction, and clear of table and neighbours
    direction_success: Bool[np.ndarray, "g 6"]  # -x +x -y +y -z +z, world frame; all false where only claimed
    outcome: UInt8[np.ndarray, "g"]  # values of Outcome
    penetration_m: Float[
        np.ndarray, "g"
    ]  # hand in object, at the grasp; this and the next two NaN where claimed
    self_penetration_m: Float[np.ndarray, "g"]
    clearance_m: Float[np.ndarray, "g"]  # least distance of the hand to table and neighbours, negative inside
    robustness: Float[np.ndarray, "g"]  # share of perturbed repetitions that passed; NaN where not measured


@dataclass(frozen=True)
class SceneRecord:
    """One generated scene, complete: what one unit of generation writes."""

    index: int
    split: str  # train, val, test or test_family
    seed: int
    scene: Scene
    views: tuple[View, ...]
    judged: tuple[JudgedGrasps, ...]  # one per object of the scene
