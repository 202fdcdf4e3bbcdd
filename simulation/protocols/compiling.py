"""How a world becomes a MuJoCo model, and where hand and objects stand in it."""

import itertools
from collections.abc import Callable

import mujoco
import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.servos import ARM_PREFIX, HAND_PREFIX
from sceneleapultra.simulation.protocols.sleep import allow_sleep
from sceneleapultra.simulation.protocols.spec import ObjectModel, Physics, Surroundings, WorldSpec

TARGET_BODY = "hand_target"
HAND_WORLD = f"{HAND_PREFIX}world"  # the body that carries what stands in the world of the hand's MJCF
# Puts the hand (its spec) into a world, and what holds it.
Carry = Callable[[mujoco.MjSpec, mujoco.MjSpec, Physics], None]
_INTEGRATORS = {
    "Euler": mujoco.mjtIntegrator.mjINT_EULER,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}
_MEMORY_PER_GEOM = 2 * 2**20  # bytes
_CONES = {"elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC, "pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL}


def object_body(number: int) -> str:
    """Return the name of the body of an object of a world; 0 is the target."""
    return "object" if number == 0 else f"object_{number}"


def carry_by_weld(spec: mujoco.MjSpec, hand: mujoco.MjSpec, physics: Physics) -> None:
    """Let the hand fly, welded to a mocap body that leads it."""
    base = spec.worldbody.add_frame().attach_body(hand.worldbody, HAND_PREFIX, "")
    base.add_freejoint(name="hand_freejoint")
    spec.worldbody.add_body(name=TARGET_BODY, mocap=True)
    spec.add_equality(
        name="hand_weld",
        type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        name1=TARGET_BODY,
        name2=base.name,
        solimp=physics.weld_solimp,
        data=[0.0] * 10 + [physics.weld_torque_scale],
    )


def compile_world(
    hand: HandModel, world: WorldSpec, physics: Physics, carry: Carry = carry_by_weld
) -> mujoco.MjModel:
    """Compile a world: the hand and what carries it, then the objects, then the table."""
    spec = mujoco.MjSpec()
    spec.option.timestep = physics.timestep_s
    spec.option.integrator = _INTEGRATORS[physics.integrator]
    spec.option.cone = _CONES[physics.cone]
    spec.option.impratio = physics.impratio
    spec.option.noslip_iterations = physics.noslip_iterations
    if not world.gravity:
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_GRAVITY

    hand_spec = mujoco.MjSpec.from_string(hand.mjcf, assets=dict(hand.assets))
    spec.assets = hand_spec.assets
    carry(spec, hand_spec, physics)
    for geom in spec.geoms:
        geom.solimp[:3] = physics.hand_solimp
        geom.solref[:2] = physics.hand_solref

    for number, entry in enumerate(world.objects):
        name = object_body(number)
        body = spec.worldbody.add_body(name=name)
        body.add_freejoint(name=f"{name}_freejoint")
        _add_pieces(spec, body, entry)
    if world.table:
        spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1])

    for geom in spec.geoms:
        geom.friction[:2] = physics.friction
        geom.condim = physics.condim
    if world.surroundings is not None:
        _surround(spec, len(world.objects), world.surroundings)
    return spec.compile()


def _add_pieces(spec: mujoco.MjSpec, body: mujoco.MjsBody, entry: ObjectModel) -> None:
    if entry.inertia is not None:
        body.explicitinertial, body.mass, body.ipos = True, entry.mass_kg, [0.0, 0.0, 0.0]
        body.fullinertia = entry.inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    for i, piece in enumerate(entry.pieces):
        vertices = np.asarray(piece, dtype=float).ravel()
        mesh = spec.add_mesh(name=f"{body.name}/piece_{i}", uservert=vertices)
        if entry.inertia is not None:
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, density=entry.density)


def _surround(spec: mujoco.MjSpec, num_objects: int, surroundings: Surroundings) -> None:
    """Give table, hand and arm what a lift out of a scene needs."""
    # The automatic size is too small for objects of many pieces; memory that is not used costs nothing.
    spec.memory = _MEMORY_PER_GEOM * len(spec.geoms)
    table = spec.geom("table")
    table.friction, table.condim = surroundings.table_friction, surroundings.table_condim
    allow_sleep(spec, table, [spec.body(object_body(number)) for number in range(1, num_objects)])
    for body in spec.bodies:
        if body.name.startswith(HAND_PREFIX):
            body.gravcomp = 1.0
    if (weld := spec.equality("hand_weld")) is not None:
        weld.solref = surroundings.arm_solref
    if surroundings.max_torque_nm is not None:
        for actuator in (a for a in spec.actuators if not a.name.startswith(ARM_PREFIX)):
            actuator.forcelimited = True
            actuator.forcerange = [-surroundings.max_torque_nm, surroundings.max_torque_nm]
    if not surroundings.object_contacts:
        # Excluded when compiling: contact bits that are raised later are not heeded.
        for first, second in itertools.combinations(range(num_objects), 2):
            spec.add_exclude(bodyname1=object_body(first), bodyname2=object_body(second))


def base_offset(model: mujoco.MjModel, hand: HandModel) -> Float[np.ndarray, "7"]:
    """Return the pose of the hand's base body in the world of its MJCF.

    The protocol holds the hand by its MJCF's origin, as the source does; how far it gives way depends on that.

    Raises:
        ValueError: the base body does not hang on the world of the MJCF.
    """
    if hand.base_body == "world":
        return np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    roots = {
        model.body(i).name.removeprefix(HAND_PREFIX): i
        for i in np.flatnonzero(model.body_parentid == model.body(HAND_WORLD).id)
    }
    if hand.base_body not in roots:
        raise ValueError(
            f"Hand: base body '{hand.base_body}' must be a child of the world in its MJCF, "
            f"which has {', '.join(roots)}."
        )
    body = roots[hand.base_body]
    return np.concatenate([model.body_pos[body], model.body_quat[body]])
