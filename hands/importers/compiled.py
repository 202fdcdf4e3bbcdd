"""What a description takes from a compiled MuJoCo model: bodies, joints, colliding geoms, fingers.

Both URDF and MJCF come here with one hinge or slide per body at most.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from omegaconf import OmegaConf

from sceneleapultra.hands.couplings import Couplings
from sceneleapultra.hands.description import (
    IDENTITY_QUAT,
    Actuation,
    Body,
    Coupling,
    HandDescription,
    Inertial,
    Joint,
    Primitive,
    Semantics,
    Shape,
    Vector,
    tuples,
)
from sceneleapultra.hands.importers.pieces import hull_corners
from sceneleapultra.hands.mjcf import to_mjcf
from sceneleapultra.utils.core.config import load_group

_SHAPE_OF_GEOM: dict[int, Shape] = {
    mujoco.mjtGeom.mjGEOM_BOX: "box",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_MESH: "convex",
}
_NUM_SIZES: dict[Shape, int] = {"box": 3, "capsule": 2, "cylinder": 2, "sphere": 1, "convex": 0}


def read_bodies(
    model: Any,
    path: Path,
    primitives_of: Callable[[int], tuple[Primitive, ...]],
    couplings: Mapping[str, Coupling],
) -> tuple[Body, ...]:
    """Return the bodies below the world, in MuJoCo's order.

    Args:
        model: compiled.
        path: its file, for messages.
        primitives_of: gives the colliding shapes of a body by its number.
        couplings: of the joints that follow others, by their names.

    Raises:
        ValueError: a body has another joint than one hinge or slide.
    """
    names = [model.body(i).name or f"body{i}" for i in range(model.nbody)]
    bodies = []
    for i in range(1, model.nbody):
        inertial = Inertial(mass=float(model.body_mass[i]), **_inertia(model, i))
        parent = int(model.body_parentid[i])
        bodies.append(
            Body(
                name=names[i],
                parent=names[parent] if parent else None,
                pos=_tuple(model.body_pos[i]) if parent else (0.0, 0.0, 0.0),
                quat_wxyz=_tuple(model.body_quat[i]) if parent else IDENTITY_QUAT,
                joint=_read_joint(model, i, path, couplings),
                inertial=inertial if inertial.mass > 0 else None,
                primitives=primitives_of(i),
            )
        )
    return tuple(bodies)


def _inertia(model: Any, i: int) -> dict[str, Vector]:
    return {
        "pos": _tuple(model.body_ipos[i]),
        "quat_wxyz": _tuple(model.body_iquat[i]),
        "moments": _tuple(model.body_inertia[i]),
    }


def _read_joint(model: Any, i: int, path: Path, couplings: Mapping[str, Coupling]) -> Joint | None:
    count, k = int(model.body_jntnum[i]), int(model.body_jntadr[i])
    if count == 0:
        return None
    name = model.joint(k).name or f"joint{k}"
    slide = model.jnt_type[k] == mujoco.mjtJoint.mjJNT_SLIDE
    if count > 1 or not (slide or model.jnt_type[k] == mujoco.mjtJoint.mjJNT_HINGE):
        kind = mujoco.mjtJoint(int(model.jnt_type[k])).name.removeprefix("mjJNT_").lower()
        raise ValueError(
            f"{path}: body '{model.body(i).name}' has {count} joint(s), the first '{name}' of type {kind}. "
            "Expected one hinge or slide per body at most: a hand's own base stays fixed, and other joints are not "
            "supported."
        )
    if slide and not model.jnt_limited[k] and name not in couplings:
        raise ValueError(f"{path}: slide '{name}' has no limits. Give it a range, in metres.")
    lower, upper = model.jnt_range[k] if model.jnt_limited[k] else (-np.pi, np.pi)
    return Joint(
        name=name,
        axis=_tuple(model.jnt_axis[k]),
        lower=float(lower),
        upper=float(upper),
        pos=_tuple(model.jnt_pos[k]),
        ref=float(model.qpos0[model.jnt_qposadr[k]]),
        slide=slide,
        coupling=couplings.get(name),
    )


def read_geoms(model: Any, i: int, path: Path) -> tuple[Primitive, ...]:
    """Return the colliding geoms of a body; a mesh is its convex hull, as MuJoCo collides with it.

    Raises:
        ValueError: a geom of a type that hands do not have, or a flat mesh.
    """
    primitives = []
    start = int(model.body_geomadr[i])
    for g in range(start, start + int(model.body_geomnum[i])):
        if not (model.geom_contype[g] or model.geom_conaffinity[g]):
            continue
        kind = int(model.geom_type[g])
        if kind not in _SHAPE_OF_GEOM:
            raise ValueError(
                f"{path}: colliding geom '{model.geom(g).name}' of body '{model.body(i).name}' has type "
                f"{mujoco.mjtGeom(kind).name.removeprefix('mjGEOM_').lower()}; "
                "expected box, capsule, cylinder, sphere or mesh."
            )
        shape = _SHAPE_OF_GEOM[kind]
        vertices: tuple[Vector, ...] = ()
        if shape == "convex":
            mesh = int(model.geom_dataid[g])
            first = int(model.mesh_vertadr[mesh])
            vertices = hull_corners(
                model.mesh_vert[first : first + int(model.mesh_vertnum[mesh])],
                f"{path}: mesh '{model.mesh(mesh).name}' of body '{model.body(i).name}'",
            )
        primitives.append(
            Primitive(
                shape=shape,
                size=_tuple(model.geom_size[g][: _NUM_SIZES[shape]]),
                pos=_tuple(model.geom_pos[g]),
                quat_wxyz=_tuple(model.geom_quat[g]),
                vertices=vertices,
            )
        )
    return tuple(primitives)


def neutral_overlaps(description: HandDescription) -> tuple[tuple[str, str], ...]:
    """Return the pairs of bodies that overlap at the neutral pose: all joints at zero or at the nearest limit."""
    model = mujoco.MjModel.from_xml_string(to_mjcf(description), dict(description.mesh_assets))
    data = mujoco.MjData(model)
    neutral = np.clip(0.0, *np.array([[j.lower, j.upper] for j in description.joints]).T)
    couplings = Couplings(description.joint_names, description.couplings, torch.float64)
    for name, position in zip(couplings.names, couplings(torch.as_tensor(neutral)).tolist(), strict=True):
        data.joint(name).qpos[0] = position
    mujoco.mj_forward(model, data)
    pairs = set()
    for contact in data.contact:
        i, k = sorted(int(model.geom_bodyid[g]) for g in contact.geom)
        if contact.dist < 0 and i != k:
            pairs.add((model.body(i).name, model.body(k).name))
    return tuple(sorted(pairs))


def derived_semantics(bodies: tuple[Body, ...]) -> Semantics:
    """Fingers, where the tree alone tells them: each unbranched chain that leaves the root's link by a joint.

    A finger is named by its first body; frames without geometry at its end do not belong to it.
    """
    children: dict[str, list[Body]] = {body.name: [] for body in bodies}
    for body in bodies[1:]:
        assert body.parent is not None
        children[body.parent].append(body)
    palm: list[Body] = [bodies[0]]
    starts: list[Body] = []
    while palm:
        for body in children[palm.pop().name]:
            (palm if body.joint is None else starts).append(body)
    fingers: dict[str, tuple[str, ...]] = {}
    for first in sorted(starts, key=bodies.index):
        chain = [first]
        while len(below := children[chain[-1].name]) == 1:
            chain.append(below[0])
        if below:
            return Semantics()
        while chain and not chain[-1].primitives:
            chain.pop()
        if chain:
            fingers[first.name] = tuple(body.name for body in chain)
    return Semantics(fingers=fingers or None)


def default_actuation() -> Actuation:
    """Return servos and contacts of a hand whose file does not say them."""
    raw = OmegaConf.to_container(load_group("hand/import", "urdf").actuation)
    assert isinstance(raw, dict)
    return Actuation(**tuples(raw))


def _tuple(values: Any) -> Vector:
    return tuple(float(x) for x in values)
