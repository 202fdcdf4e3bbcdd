"""How a hand's description becomes the MJCF text that MuJoCo simulates."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np

from sceneleapultra.hands.description import (
    SLIDE_M_PER_RAD,
    Actuation,
    Body,
    HandDescription,
    Joint,
    Primitive,
)

ARENA_MEMORY_MB = 64  # the default 15 MB overflows with a few hundred contacts


def to_mjcf(description: HandDescription) -> str:
    """Write a standalone model: the root body fixed at the world's origin, one position servo per joint of a pose.

    Geoms are named ``<body>_collision_<i>``, servos as their joints. Followers are tied to their leaders. A slide gets
    the gains that a hinge with an arm of ``SLIDE_M_PER_RAD`` would have. A hand that came as MJCF has its own text.
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
        elements[body.name] = _body(elements[body.parent], body, asset, description.actuation)
    if len(asset):
        root.append(asset)
    root.append(elements[None])
    contact = ET.SubElement(root, "contact")
    for first, second in description.non_colliding():
        ET.SubElement(contact, "exclude", body1=first, body2=second)
    if description.followers:
        equality = ET.SubElement(root, "equality")
        for joint in description.followers:
            _equality(equality, joint, description)
    actuator = ET.SubElement(root, "actuator")
    for joint in description.joints:
        servo = ET.SubElement(
            actuator,
            "position",
            name=joint.name,
            joint=joint.name,
            ctrlrange=_text((joint.lower, joint.upper)),
        )
        if joint.slide:
            servo.set("kp", _text([description.actuation.kp / SLIDE_M_PER_RAD**2]))
            servo.set("kv", _text([description.actuation.kv / SLIDE_M_PER_RAD**2]))
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


def _equality(parent: ET.Element, joint: Joint, description: HandDescription) -> None:
    """Tie a follower: MuJoCo's polynomial is of how far the leader is from its reference."""
    coupling = joint.coupling
    assert coupling is not None and len(coupling.knots) == 1
    element = ET.SubElement(parent, "joint", joint1=joint.name, solref="0.005 1", solimp="0.99 0.999 0.001")
    polynomial = np.polynomial.Polynomial(coupling.coefficients[0])
    if coupling.leader is not None:
        element.set("joint2", coupling.leader)
        ref = next(each.ref for each in description.joints if each.name == coupling.leader)
        if ref != coupling.knots[0]:
            polynomial = polynomial(np.polynomial.Polynomial([ref - coupling.knots[0], 1.0]))
    coefficients = np.zeros(5)
    coefficients[: len(polynomial.coef)] = polynomial.coef
    coefficients[0] -= joint.ref
    element.set("polycoef", _text(coefficients.tolist()))


def _body(parent: ET.Element, body: Body, asset: ET.Element, actuation: Actuation) -> ET.Element:
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
        joint = ET.SubElement(
            element,
            "joint",
            name=body.joint.name,
            type="slide" if body.joint.slide else "hinge",
            pos=_text(body.joint.pos),
            axis=_text(body.joint.axis),
            range=_text((body.joint.lower, body.joint.upper)),
            ref=_text([body.joint.ref]),
        )
        if body.joint.slide:
            arm = SLIDE_M_PER_RAD
            joint.set("damping", _text([actuation.damping / arm**2]))
            joint.set("frictionloss", _text([actuation.frictionloss / arm]))
            joint.set("armature", _text([actuation.armature / arm**2]))
        if body.joint.coupling is not None:
            joint.set("limited", "false")  # its leader's limits are its own
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
