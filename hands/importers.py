"""How a foreign hand, a URDF or an MJCF, becomes a description: MuJoCo parses, we read the compiled model.

Both give one hinge per body at most. A URDF's collision shapes stay primitives where they are (box, cylinder, sphere);
a mesh becomes the convex hull of each of its connected parts. Links that overlap at the neutral pose (all joints at
zero, or at the limit nearest to it) are declared non-colliding, since a URDF cannot say so.
"""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import trimesh
from omegaconf import OmegaConf
from scipy.spatial import ConvexHull

from sceneleapultra.hands.description import (
    IDENTITY_QUAT,
    Actuation,
    Body,
    HandDescription,
    Inertial,
    Joint,
    Primitive,
    Semantics,
    Shape,
    Vector,
    tuples,
)
from sceneleapultra.hands.kinematics import homogeneous
from sceneleapultra.hands.mjcf import to_mjcf
from sceneleapultra.utils.core.config import load_group
from sceneleapultra.utils.core.plain_data import read_xml

_SHAPE_OF_GEOM: dict[int, Shape] = {
    mujoco.mjtGeom.mjGEOM_BOX: "box",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_MESH: "convex",
}
_HULL_DIRECTIONS = 160
_NUM_SIZES: dict[Shape, int] = {"box": 3, "capsule": 2, "cylinder": 2, "sphere": 1, "convex": 0}


def describe_mjcf(path: Path) -> HandDescription:
    """Describe the hand in a MuJoCo model; the simulated model stays the file's own text.

    Raises:
        ValueError: MuJoCo cannot parse it, or it is not one tree of hinges below the world.
    """
    read_xml(path)  # MuJoCo reads past entities, and says nothing of them
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        model = spec.compile()
    except ValueError as error:
        raise ValueError(f"{path}: MuJoCo cannot read this as a hand's MJCF: {error}") from error
    roots = [i for i in range(1, model.nbody) if model.body_parentid[i] == 0]
    if len(roots) != 1:
        raise ValueError(f"{path}: expected one hand, so one body below <worldbody>, found {len(roots)}.")
    bodies = _read_bodies(model, path, lambda i: _read_geoms(model, i, path))
    names = [body.name for body in bodies]
    excludes = tuple(
        (names[(s >> 16) - 1], names[(s & 0xFFFF) - 1]) for s in model.exclude_signature.tolist()
    )
    T_world_root = homogeneous(tuple(model.body_pos[1]), tuple(model.body_quat[1]))
    return HandDescription(
        name=path.stem,
        bodies=bodies,
        actuation=_urdf_actuation(),  # not written anywhere: the source's text has its own
        semantics=_derived_semantics(bodies),
        excludes=excludes,
        source_mjcf=path.read_text(),
        mesh_assets=_assets_of(spec, path),
        T_world_root=tuple(tuple(row) for row in T_world_root.tolist()),
    )


def describe_urdf(path: Path) -> HandDescription:
    """Describe the hand in a URDF; servo gains come from ``config/hand/import/urdf.yaml``.

    Raises:
        ValueError: not a URDF, or with joints other than fixed and hinge, or with mimic joints.
        FileNotFoundError: a collision mesh is missing.
    """
    robot = _parse_urdf(path)
    collisions = {
        link.attrib["name"]: tuple(p for c in link.findall("collision") for p in _read_collision(c, path))
        for link in robot.findall("link")
    }
    for link in robot.findall("link"):
        for element in (*link.findall("visual"), *link.findall("collision")):
            link.remove(element)
    for element in robot.findall("mujoco"):
        robot.remove(element)
    # Links without mass (frames) get a mass too small to matter, since MuJoCo moves none without.
    options = {"fusestatic": "false", "balanceinertia": "true", "boundmass": "1e-6", "boundinertia": "1e-9"}
    ET.SubElement(ET.SubElement(robot, "mujoco"), "compiler", options)
    try:
        model = mujoco.MjSpec.from_string(ET.tostring(robot, encoding="unicode")).compile()
    except ValueError as error:
        raise ValueError(f"{path}: MuJoCo cannot read this as a URDF: {error}") from error
    bodies = _read_bodies(model, path, lambda i: collisions[model.body(i).name])
    description = HandDescription(
        name=robot.attrib["name"],
        bodies=bodies,
        actuation=_urdf_actuation(),
        semantics=_derived_semantics(bodies),
    )
    return replace(description, excludes=_neutral_overlaps(description))


def _parse_urdf(path: Path) -> ET.Element:
    robot = read_xml(path)
    if robot.tag != "robot":
        raise ValueError(f"{path}: expected a URDF, so <robot> as its outermost element, got <{robot.tag}>.")
    for joint in robot.findall("joint"):
        if joint.find("mimic") is not None:
            raise ValueError(
                f"{path}: joint '{joint.attrib['name']}' mimics another. Coupled joints are not supported: "
                "remove <mimic> to drive it freely, or make the joint fixed."
            )
    return robot


def _read_bodies(model: Any, path: Path, primitives_of: Any) -> tuple[Body, ...]:
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
                joint=_read_joint(model, i, path),
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


def _read_joint(model: Any, i: int, path: Path) -> Joint | None:
    count, k = int(model.body_jntnum[i]), int(model.body_jntadr[i])
    if count == 0:
        return None
    name = model.joint(k).name or f"joint{k}"
    if count > 1 or model.jnt_type[k] != mujoco.mjtJoint.mjJNT_HINGE:
        kind = mujoco.mjtJoint(int(model.jnt_type[k])).name.removeprefix("mjJNT_").lower()
        raise ValueError(
            f"{path}: body '{model.body(i).name}' has {count} joint(s), the first '{name}' of type {kind}. "
            "Expected one hinge per body at most: a hand's own base stays fixed, and other joints are not supported."
        )
    lower, upper = model.jnt_range[k] if model.jnt_limited[k] else (-np.pi, np.pi)
    return Joint(
        name=name,
        axis=_tuple(model.jnt_axis[k]),
        lower=float(lower),
        upper=float(upper),
        pos=_tuple(model.jnt_pos[k]),
        ref=float(model.qpos0[model.jnt_qposadr[k]]),
    )


def _read_geoms(model: Any, i: int, path: Path) -> tuple[Primitive, ...]:
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
            vertices = _hull_vertices(model.mesh_vert[first : first + int(model.mesh_vertnum[mesh])])
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


def _read_collision(collision: ET.Element, path: Path) -> tuple[Primitive, ...]:
    origin, geometry = collision.find("origin"), collision.find("geometry")
    attributes = {} if origin is None else origin.attrib
    pos = _numbers(attributes["xyz"]) if "xyz" in attributes else (0.0, 0.0, 0.0)
    quat = _quat_from_rpy(_numbers(attributes["rpy"])) if "rpy" in attributes else IDENTITY_QUAT
    if geometry is None or len(geometry) != 1:
        raise ValueError(f"{path}: a <collision> needs one shape inside <geometry>.")
    shape = geometry[0]
    match shape.tag:
        case "box":
            return (Primitive("box", tuple(x / 2 for x in _numbers(shape.attrib["size"])), pos, quat),)
        case "sphere":
            return (Primitive("sphere", (float(shape.attrib["radius"]),), pos, quat),)
        case "cylinder" | "capsule":
            size = (float(shape.attrib["radius"]), float(shape.attrib["length"]) / 2)
            return (Primitive("cylinder" if shape.tag == "cylinder" else "capsule", size, pos, quat),)
        case "mesh":
            scale = _numbers(shape.attrib["scale"]) if "scale" in shape.attrib else (1.0, 1.0, 1.0)
            parts = _mesh_parts(path, shape.attrib["filename"])
            hulls = (_hull_vertices(_support_points(part * np.asarray(scale))) for part in parts)
            return tuple(Primitive("convex", (), pos, quat, vertices=hull) for hull in hulls)
        case other:
            raise ValueError(
                f"{path}: unknown collision shape <{other}>; expected box, sphere, cylinder or mesh."
            )


def _mesh_parts(urdf: Path, filename: str) -> list[np.ndarray]:
    file = urdf.parent / filename.removeprefix("package://").removeprefix("file://")
    if not file.is_file():
        raise FileNotFoundError(
            f"{urdf}: collision mesh '{filename}' is not at {file}. Put it beside the URDF."
        )
    mesh = trimesh.load_mesh(file)
    parts = [np.asarray(part.vertices) for part in mesh.split(only_watertight=False)]
    return parts or [np.asarray(mesh.vertices)]


def _support_points(vertices: np.ndarray) -> np.ndarray:
    """Keep the vertices that are extreme in one of many evenly spread directions, so that hulls stay small.

    What is lost is below radius * (1 - cos(9 degrees)), so about 1 % of a round tip's radius.
    """
    k = np.arange(_HULL_DIRECTIONS) + 0.5
    z, turn = 1 - 2 * k / _HULL_DIRECTIONS, np.pi * (1 + np.sqrt(5)) * k
    ring = np.sqrt(1 - z * z)
    directions = np.stack((ring * np.cos(turn), ring * np.sin(turn), z), axis=1)
    return vertices[np.unique((vertices @ directions.T).argmax(0))]


def _hull_vertices(vertices: np.ndarray) -> tuple[Vector, ...]:
    points = np.unique(np.asarray(vertices, dtype=np.float64).round(7), axis=0)
    return tuple(_tuple(v) for v in points[ConvexHull(points).vertices])


def _neutral_overlaps(description: HandDescription) -> tuple[tuple[str, str], ...]:
    model = mujoco.MjSpec.from_string(to_mjcf(description)).compile()
    data = mujoco.MjData(model)
    data.qpos[:] = np.clip(0.0, *np.array([[j.lower, j.upper] for j in description.joints]).T)
    mujoco.mj_forward(model, data)
    pairs = set()
    for contact in data.contact:
        i, k = sorted(int(model.geom_bodyid[g]) for g in contact.geom)
        if contact.dist < 0 and i != k:
            pairs.add((model.body(i).name, model.body(k).name))
    return tuple(sorted(pairs))


def _derived_semantics(bodies: tuple[Body, ...]) -> Semantics:
    """Fingers, where the tree alone tells them: each unbranched chain that leaves the root's link by a hinge.

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


def _assets_of(spec: Any, path: Path) -> dict[str, bytes]:
    folders = [
        (spec.meshdir, (m.file for m in spec.meshes)),
        (spec.texturedir, (t.file for t in spec.textures)),
    ]
    assets = {}
    for folder, files in folders:
        for file in filter(None, files):
            assets[file] = (path.parent / (folder or "") / file).read_bytes()
    for include in read_xml(path).iter("include"):
        assets[include.attrib["file"]] = (path.parent / include.attrib["file"]).read_bytes()
    return assets


def _urdf_actuation() -> Actuation:
    raw = OmegaConf.to_container(load_group("hand/import", "urdf").actuation)
    assert isinstance(raw, dict)
    return Actuation(**tuples(raw))


def _quat_from_rpy(rpy: Vector) -> Vector:
    """Fixed-axis roll, pitch, yaw: R = Rz(yaw) Ry(pitch) Rx(roll)."""
    quat = np.zeros(4)
    mujoco.mju_euler2Quat(quat, np.asarray(rpy), "XYZ")
    return _tuple(quat)


def _numbers(text: str) -> Vector:
    return tuple(float(x) for x in text.split())


def _tuple(values: Any) -> Vector:
    return tuple(float(x) for x in values)
