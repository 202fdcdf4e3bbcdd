"""How a hand's description becomes the MJCF text that MuJoCo simulates."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from sceneleapultra.hands.description import Actuation, Body, HandDescription, Primitive

ARENA_MEMORY_MB = 64  # the default 15 MB overflows with a few hundred contacts


def to_mjcf(description: HandDescription) -> str:
    """Write a standalone model: the root body fixed at the world's origin, one position servo per joint.

    Geoms are named ``<body>_collision_<i>``, servos as their joints. A hand that came as MJCF is returned as it came.
    """
    if description.source_mjcf is not None:
        return description.source_mjcf
    root = ET.Element("mujoco", model=description.name)
    ET.SubElement(root, "compiler", angle="radian", autolimits="true")
    ET.SubElement(root, "option", integrator="implicitfast", cone="elliptic", impratio="100")
    ET.SubElement(root, "size", memory=f"{ARENA_MEMORY_MB}M")
    _defaults(root, description.actuation)
    asset = ET.Element("asset")
    elements: dict[str | None, ET.Element] = {None: ET.Element("worldbody")}
    for body in description.bodies:
        elements[body.name] = _body(elements[body.parent], body, asset)
    if len(asset):
        root.append(asset)
    root.append(elements[None])
    contact = ET.SubElement(root, "contact")
    for first, second in description.non_colliding():
        ET.SubElement(contact, "exclude", body1=first, body2=second)
    actuator = ET.SubElement(root, "actuator")
    for joint in description.joints:
        ET.SubElement(
            actuator,
            "position",
            name=joint.name,
            joint=joint.name,
            ctrlrange=_text((joint.lower, joint.upper)),
        )
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def _defaults(root: ET.Element, actuation: Actuation) -> None:
    default = ET.SubElement(root, "default")
    ET.SubElement(
        default,
        "joint",
        damping=_text([actuation.damping]),
        frictionloss=_text([actuation.frictionloss]),
        armature=_text([actuation.armature]),
    )
    ET.SubElement(
        default,
        "geom",
        friction=_text(actuation.friction),
        solref=_text(actuation.solref),
        solimp=_text(actuation.solimp),
        rgba="0.35 0.38 0.42 1",
    )
    ET.SubElement(default, "position", kp=_text([actuation.kp]), kv=_text([actuation.kv]))


def _body(parent: ET.Element, body: Body, asset: ET.Element) -> ET.Element:
    element = ET.SubElement(parent, "body", name=body.name, pos=_text(body.pos), quat=_text(body.quat_wxyz))
    if body.inertial is not None:
        ET.SubElement(
            element,
            "inertial",
            mass=_text([body.inertial.mass]),
            pos=_text(body.inertial.pos),
            quat=_text(body.inertial.quat_wxyz),
            diaginertia=_text(body.inertial.moments),
        )
    if body.joint is not None:
        ET.SubElement(
            element,
            "joint",
            name=body.joint.name,
            type="hinge",
            pos=_text(body.joint.pos),
            axis=_text(body.joint.axis),
            range=_text((body.joint.lower, body.joint.upper)),
            ref=_text([body.joint.ref]),
        )
    for number, primitive in enumerate(body.primitives):
        _geom(element, f"{body.name}_collision_{number}", primitive, asset)
    return element


def _geom(parent: ET.Element, name: str, primitive: Primitive, asset: ET.Element) -> None:
    geom = ET.SubElement(
        parent,
        "geom",
        name=name,
        pos=_text(primitive.pos),
        quat=_text(primitive.quat_wxyz),
        type=primitive.shape,
    )
    if primitive.shape == "convex":
        # MuJoCo collides with a mesh's convex hull, so its vertices alone are enough.
        geom.set("type", "mesh")
        geom.set("mesh", name)
        flat = [x for vertex in primitive.vertices for x in vertex]
        ET.SubElement(asset, "mesh", name=name, vertex=_text(flat))
    else:
        geom.set("size", _text(primitive.size))
    if primitive.friction:
        geom.set("friction", _text(primitive.friction))


def _text(numbers: Sequence[float]) -> str:
    return " ".join(repr(float(x)) for x in numbers)
