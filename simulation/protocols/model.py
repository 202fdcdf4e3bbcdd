"""How the tested world is put together: a hand on a compliant base, one free object, perhaps a floor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull

from sceneleapultra.simulation.protocols.protocol import Protocol
from sceneleapultra.utils.records import ObjectRecord

if TYPE_CHECKING:
    from sceneleapultra.hands import Hand

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
    """A hand as the simulator needs it: plain data, so that it travels to worker processes."""

    mjcf: str
    assets: Mapping[str, bytes]
    base_body: str  # its frame is what a base pose places; "world" for the frame of the MJCF
    joint_names: tuple[str, ...]  # in the order of a grasp's joints
    contact_bodies: tuple[str, ...]  # links that count as touching
    finger_bodies: Mapping[str, tuple[str, ...]]

    @classmethod
    def from_hand(cls, hand: "Hand") -> "HandModel":
        """Take what is needed of a hand; links that count: the palm, and all but the first of each finger."""
        fingers = {finger: tuple(bodies) for finger, bodies in hand.finger_bodies.items()}
        return cls(
            mjcf=hand.to_mjcf(),
            assets=dict(hand.mesh_assets),
            base_body=hand.root_body,
            joint_names=tuple(hand.joint_names),
            contact_bodies=(hand.root_body, *(body for bodies in fingers.values() for body in bodies[1:])),
            finger_bodies=fingers,
        )


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
    """Compile the test of a protocol.

    ``qpos`` is [hand base 7, hand joints, object 7], poses as position and quaternion wxyz; the bodies are
    the world, the hand's subtree, the hand's target and the object, in this order.
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


def base_offset(model: mujoco.MjModel, hand: HandModel) -> Float[np.ndarray, "7"]:
    """Return the pose of the hand's base body in the world of its MJCF.

    The protocol holds the hand by its MJCF's origin, as the source does; how far it gives way depends on that.

    Raises:
        ValueError: The base body does not hang on the world of the MJCF.
    """
    if hand.base_body == "world":
        return np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    roots = {
        model.body(i).name.removeprefix(HAND_PREFIX): i for i in np.flatnonzero(model.body_parentid == 1)
    }
    if hand.base_body not in roots:
        raise ValueError(
            f"Hand: base body '{hand.base_body}' must be a child of the world in its MJCF, "
            f"which has {', '.join(roots)}."
        )
    body = roots[hand.base_body]
    return np.concatenate([model.body_pos[body], model.body_quat[body]])


def joint_addresses(model: mujoco.MjModel, hand: HandModel) -> Int[np.ndarray, "j"]:
    """Return where each joint of the hand, in its order, stands in ``qpos``.

    Raises:
        ValueError: The MJCF has other joints than the hand names.
    """
    # Between the free joints of hand and object.
    found = [model.joint(i).name.removeprefix(HAND_PREFIX) for i in range(1, model.njnt - 1)]
    if sorted(found) != sorted(hand.joint_names) or model.nq != len(found) + 14:
        raise ValueError(
            f"Hand: joint_names must name the hinges of its MJCF, {', '.join(found)}; "
            f"got {', '.join(hand.joint_names)}."
        )
    return np.array([model.joint(HAND_PREFIX + name).qposadr[0] for name in hand.joint_names], dtype=int)


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
