"""How the tested world is put together: a compliant hand on a mocap target, one free object, perhaps a floor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull

from simulation.protocols.protocol import Protocol
from utils.records import ObjectRecord

if TYPE_CHECKING:
    from hands import Hand

HAND_PREFIX = "hand/"
OBJECT_BODY = "object"
TARGET_BODY = "hand_target"
_INTEGRATORS = {
    "Euler": mujoco.mjtIntegrator.mjINT_EULER,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}
_CONES = {"elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC, "pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL}


@dataclass(frozen=True)
class HandModel:
    """A hand as the simulator needs it: plain data, so that it travels to worker processes.

    The base frame is the world frame of the MJCF.
    """

    mjcf: str
    assets: Mapping[str, bytes]
    joint_names: tuple[str, ...]
    contact_bodies: tuple[str, ...]  # links that count as touching
    finger_bodies: Mapping[str, tuple[str, ...]]

    @classmethod
    def from_hand(cls, hand: "Hand") -> "HandModel":
        """Take what is needed from a hand."""
        fingers = {finger: tuple(bodies) for finger, bodies in hand.finger_bodies.items()}
        links = (hand.root_body, *(body for bodies in fingers.values() for body in bodies))
        return cls(hand.to_mjcf(), dict(hand.mesh_assets), tuple(hand.joint_names), links, fingers)


@dataclass(frozen=True)
class ObjectModel:
    """An object as the simulator needs it: convex pieces of one density (kg/m^3), overlaps counted twice."""

    pieces: tuple[Float[np.ndarray, "_ 3"], ...]
    density: float

    @classmethod
    def from_record(cls, record: ObjectRecord, mass_kg: float) -> "ObjectModel":
        """Give the object's pieces the density at which they weigh ``mass_kg`` together."""
        return cls(record.pieces, mass_kg / sum(ConvexHull(piece).volume for piece in record.pieces))


def compile_model(hand: HandModel, obj: ObjectModel, protocol: Protocol) -> mujoco.MjModel:
    """Compile the test of a protocol; state order: hand base 7, hand joints, object 7 (position, quaternion wxyz).

    Bodies in order: world, the hand's subtree, the hand's target, the object.
    """
    spec = mujoco.MjSpec()
    spec.option.timestep = protocol.timestep_s
    spec.option.integrator = _INTEGRATORS[protocol.integrator]
    spec.option.cone = _CONES[protocol.cone]
    spec.option.impratio = protocol.impratio
    spec.option.noslip_iterations = protocol.noslip_iterations
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_GRAVITY

    hand_spec = mujoco.MjSpec.from_string(hand.mjcf, assets=dict(hand.assets))
    spec.assets = hand_spec.assets
    base = spec.worldbody.add_frame().attach_body(hand_spec.worldbody, HAND_PREFIX, "")
    base.add_freejoint(name="hand_freejoint")
    for geom in spec.geoms:
        geom.solimp[:3] = protocol.hand_solimp
        geom.solref[:2] = protocol.hand_solref

    spec.worldbody.add_body(name=TARGET_BODY, mocap=True)
    spec.add_equality(
        name="hand_weld",
        type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        name1=TARGET_BODY,
        name2=base.name,
        solimp=protocol.weld_solimp,
        data=[0.0] * 10 + [protocol.weld_torque_scale],
    )

    body = spec.worldbody.add_body(name=OBJECT_BODY)
    body.add_freejoint(name="object_freejoint")
    for i, piece in enumerate(obj.pieces):
        mesh = spec.add_mesh(name=f"object_{i}", uservert=np.asarray(piece, dtype=float).ravel())
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, density=obj.density)
    if protocol.floor:
        spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1])

    for geom in spec.geoms:
        geom.friction[:2] = protocol.friction
        geom.condim = protocol.condim
    return spec.compile()


def actuator_map(model: mujoco.MjModel) -> Float[np.ndarray, "u j"]:
    """Return the matrix from hand joint positions to actuator targets, at the model's default pose.

    It is the identity for one position actuator per joint and sums joints where a tendon couples them.
    """
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    moment = np.zeros((model.nu, model.nv))
    mujoco.mju_sparse2dense(
        moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
    )
    return moment[:, 6:-6]
