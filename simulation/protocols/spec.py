"""What a world is made of: the constants of its physics, its objects, and one attempt to grasp in it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial import ConvexHull

from sceneleapultra.simulation.protocols.motion import pose_from_matrix
from sceneleapultra.simulation.scene import solid_inertia, solid_volume
from sceneleapultra.utils.records import Grasps, ObjectRecord, Scene


@dataclass(frozen=True, kw_only=True)
class Physics:
    """How MuJoCo treats bodies and contacts; ``config/protocol/physics`` says what each constant means."""

    timestep_s: float
    integrator: Literal["Euler", "implicit", "implicitfast"]
    cone: Literal["elliptic", "pyramidal"]
    impratio: float
    noslip_iterations: int
    friction: tuple[float, float]
    condim: Literal[1, 3, 4, 6]
    hand_solimp: tuple[float, float, float]
    hand_solref: tuple[float, float]
    weld_solimp: tuple[float, float, float, float, float]
    weld_torque_scale: float


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a scene has besides; ``config/protocol/scene-lift.yaml`` says what each constant means."""

    table_friction: tuple[float, float, float]
    table_condim: Literal[1, 3, 4, 6]
    object_contacts: bool
    arm_solref: tuple[float, float]
    max_torque_nm: float | None


@dataclass(frozen=True)
class ObjectModel:
    """An object as the simulator needs it: convex pieces of one density (kg/m^3), overlaps counted twice.

    With ``inertia``, that of the surface's solid about its center of mass, the pieces carry contact only, and
    ``density`` is that of the solid. ``piece_part`` names the pieces, see :class:`~sceneleapultra.utils.parts.Part`.
    """

    pieces: tuple[Float[np.ndarray, "_ 3"], ...]
    density: float
    mass_kg: float | None = None
    inertia: Float[np.ndarray, "3 3"] | None = None  # kg m^2
    piece_part: UInt8[np.ndarray, "p"] | None = None

    @classmethod
    def from_record(cls, record: ObjectRecord, mass_kg: float) -> "ObjectModel":
        """Give the object's pieces the density at which they weigh ``mass_kg`` together."""
        density = mass_kg / sum(ConvexHull(piece).volume for piece in record.pieces)
        return cls(record.pieces, density, piece_part=record.piece_part)

    @classmethod
    def solid(cls, record: ObjectRecord, mass_kg: float) -> "ObjectModel":
        """Give the object the inertia of the uniform solid inside its surface."""
        inertia = solid_inertia(record) * (mass_kg / record.mass)
        return cls(record.pieces, mass_kg / solid_volume(record), mass_kg, inertia, record.piece_part)


@dataclass(frozen=True)
class WorldSpec:
    """What a trial has in its world beside the hand.

    Attributes:
        objects: the target first.
        numbers: which object of the scene each is, in the same order.
        table: a plane at z = 0.
        gravity: 9.81 m/s^2 downward, on the hand too; its base is held by a weld.
        surroundings: None for a world as DexGraspBench has it; with them the hand has no weight.
    """

    objects: tuple[ObjectModel, ...]
    numbers: tuple[int, ...]
    table: bool
    gravity: bool
    surroundings: Surroundings | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for worlds that compile to the same model, with the same names for its parts."""
        pieces = tuple(hash(piece.tobytes()) for entry in self.objects for piece in entry.pieces)
        named = (None if entry.piece_part is None else entry.piece_part.tobytes() for entry in self.objects)
        sizes = tuple(
            (len(entry.pieces), entry.density, entry.mass_kg, names)
            for entry, names in zip(self.objects, named, strict=True)
        )
        return pieces, sizes, self.table, self.gravity, self.surroundings

    def poses(self, scene: Scene) -> Float[np.ndarray, "k 7"]:
        """Return where the objects lie in a scene."""
        return np.stack([pose_from_matrix(scene.T_world_object[number]) for number in self.numbers])


@dataclass(frozen=True)
class Attempt:
    """One grasp to try: its three stages, each [base pose 7, joints], and where the objects lie at the start.

    Poses are [position 3, quaternion wxyz 4] in the world frame, quaternions of any sign and length.
    """

    pregrasp: Float[np.ndarray, "h"]  # where the fingers start
    grasp: Float[np.ndarray, "h"]  # where they touch
    squeeze: Float[np.ndarray, "h"]  # where they press
    object_poses: Float[np.ndarray, "k 7"]
    approach: Float[np.ndarray, "3"] | None = None  # offset of the base at the start; None: the trial chooses

    @classmethod
    def of(cls, grasps: Grasps, index: int, object_poses: Float[np.ndarray, "k 7"]) -> "Attempt":
        """Take one grasp of several."""
        pose = grasps.hand_pose[index]
        base = np.concatenate([pose[:3], pose[-4:]])
        joints = (grasps.pregrasp_qpos[index], pose[3:-4], grasps.squeeze_qpos[index])
        pregrasp, grasp, squeeze = (np.concatenate([base, q]) for q in joints)
        chosen = None if grasps.approach is None else grasps.approach[index]
        return cls(
            pregrasp,
            grasp,
            squeeze,
            object_poses,
            None if chosen is None or np.isnan(chosen).any() else chosen,
        )
