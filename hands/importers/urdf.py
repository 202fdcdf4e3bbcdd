"""How a URDF becomes a description.

Collision shapes stay primitives where they are (box, cylinder, sphere, capsule); a mesh becomes convex pieces. A link
with collision shapes but without mass or inertia gets those of its shapes at the density that MuJoCo takes. Links that
overlap at the neutral pose are declared non-colliding, since a URDF cannot say so.
"""

import logging
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from sceneleapultra.hands.description import IDENTITY_QUAT, HandDescription, Primitive, Vector
from sceneleapultra.hands.importers.compiled import (
    default_actuation,
    derived_semantics,
    neutral_overlaps,
    read_bodies,
)
from sceneleapultra.hands.importers.pieces import mesh_pieces
from sceneleapultra.hands.importers.references import find_file, parse_xml
from sceneleapultra.hands.importers.urdf_joints import read_joints
from sceneleapultra.hands.importers.xml_values import attribute, listed, numbers

_LOG = logging.getLogger(__name__)


def expand_xacro(path: Path) -> str:
    """Say how a file of xacro becomes a URDF."""
    name = f"{path.stem.removesuffix('.urdf')}{'' if path.suffix == '.xacro' else '_hand'}.urdf"
    return f"The program xacro writes the URDF: xacro {path.name} > {name}"


def describe_urdf(path: Path) -> HandDescription:
    """Describe the hand in a URDF; servo gains come from ``config/hand/import/urdf.yaml``.

    Raises:
        ValueError: not a URDF, or with joints that cannot be simulated or have no limits.
        FileNotFoundError: a collision mesh is missing.
    """
    robot = parse_xml(path, "robot", "a URDF")
    if (macro := next((e.tag for e in robot.iter() if e.tag.startswith("xacro:")), None)) is not None:
        raise ValueError(f"{path}: <{macro}> is a macro. {expand_xacro(path)}")
    couplings = read_joints(robot, path)
    collisions = {
        attribute(link, "name", path): tuple(
            p for collision in link.findall("collision") for p in _read_collision(collision, link, path)
        )
        for link in robot.findall("link")
    }
    weightless = _weightless(robot, collisions, path)
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
    bodies = read_bodies(model, path, lambda i: collisions[model.body(i).name], couplings)
    bodies = tuple(replace(body, inertial=None) if body.name in weightless else body for body in bodies)
    description = HandDescription(
        name=attribute(robot, "name", path),
        bodies=bodies,
        actuation=default_actuation(),
        semantics=derived_semantics(bodies),
    )
    return replace(description, excludes=neutral_overlaps(description))


def _weightless(
    robot: ET.Element, collisions: dict[str, tuple[Primitive, ...]], path: Path
) -> frozenset[str]:
    """Return the links whose mass is that of their collision shapes: those that lack a mass or an inertia."""
    found = []
    for link in robot.findall("link"):
        inertial, mass = link.find("inertial"), link.find("inertial/mass")
        value = 0.0 if mass is None else numbers(mass, "value", 1, path)[0]
        if inertial is not None and (mass is None or inertial.find("inertia") is None):
            link.remove(inertial)
            value = 0.0
        if value <= 0 and collisions[link.attrib["name"]]:
            found.append(link.attrib["name"])
    if found:
        _LOG.warning(
            "%s: %s: no mass and inertia given, taken from the collision shapes", path, listed(found, "link")
        )
    return frozenset(found)


def _read_collision(collision: ET.Element, link: ET.Element, path: Path) -> tuple[Primitive, ...]:
    where = f"{path}: link '{link.attrib['name']}'"
    origin, geometry = collision.find("origin"), collision.find("geometry")
    pos: Vector = (0.0, 0.0, 0.0)
    quat = IDENTITY_QUAT
    if origin is not None:
        pos = numbers(origin, "xyz", 3, path) if "xyz" in origin.attrib else pos
        quat = _quat_from_rpy(numbers(origin, "rpy", 3, path)) if "rpy" in origin.attrib else quat
    if geometry is None or len(geometry) != 1:
        raise ValueError(f"{where}: a <collision> needs one shape inside <geometry>.")
    shape = geometry[0]
    match shape.tag:
        case "box":
            return (Primitive("box", tuple(x / 2 for x in numbers(shape, "size", 3, path)), pos, quat),)
        case "sphere":
            return (Primitive("sphere", numbers(shape, "radius", 1, path), pos, quat),)
        case "cylinder" | "capsule":
            size = (*numbers(shape, "radius", 1, path), numbers(shape, "length", 1, path)[0] / 2)
            return (Primitive("cylinder" if shape.tag == "cylinder" else "capsule", size, pos, quat),)
        case "mesh":
            scale = numbers(shape, "scale", 3, path) if "scale" in shape.attrib else (1.0, 1.0, 1.0)
            file = find_file(path, attribute(shape, "filename", path), "collision mesh")
            return tuple(
                Primitive("convex", (), pos, quat, vertices=hull) for hull in mesh_pieces(file, scale, where)
            )
        case other:
            raise ValueError(
                f"{where}: unknown collision shape <{other}>; expected box, sphere, cylinder, capsule or mesh."
            )


def _quat_from_rpy(rpy: Vector) -> Vector:
    """Fixed-axis roll, pitch, yaw: R = Rz(yaw) Ry(pitch) Rx(roll)."""
    quat = np.zeros(4)
    mujoco.mju_euler2Quat(quat, np.asarray(rpy), "XYZ")
    return tuple(float(x) for x in quat)
