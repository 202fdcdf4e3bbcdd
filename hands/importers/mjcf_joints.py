"""How the joints of an MJCF are written as hinges and slides, one per body at most, all with names.

The model stays the same: a body with several joints becomes bodies in a row, a ball joint three hinges at one point,
and the hand's own free joint is taken away, since a protocol leads the hand.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco

_POSE = ("pos", "quat", "axisangle", "xyaxes", "zaxis", "euler", "childclass")
_BALL_AXES = {"x": "1 0 0", "y": "0 1 0", "z": "0 0 1"}
# Too light to matter, and heavy enough for MuJoCo to move.
_LINK_INERTIAL = {"pos": "0 0 0", "mass": "1e-6", "diaginertia": "1e-9 1e-9 1e-9"}


def name_all(root: ET.Element) -> None:
    """Give bodies, joints and actuators names where they have none: whatever refers to them does so by name."""
    for tags, stem in ((("body",), "body"), (("joint", "freejoint"), "joint")):
        elements = [e for world in root.iter("worldbody") for tag in tags for e in world.iter(tag)]
        _name(elements, stem)
    _name([e for block in root.iter("actuator") for e in block], "servo")


def _name(elements: list[ET.Element], stem: str) -> None:
    taken = {element.get("name") for element in elements}
    for number, element in enumerate(elements):
        if not element.get("name"):
            name = f"{stem}_{number}"
            while name in taken:
                name += "_"
            taken.add(name)
            element.set("name", name)


def one_joint_per_body(root: ET.Element, model: Any, path: Path) -> bool:
    """Write the joints as hinges and slides, one per body at most; tell whether anything had to be changed.

    Args:
        root: of the model, with names.
        model: compiled from it.
        path: its file, for messages.

    Raises:
        ValueError: an actuator drives a ball joint.
    """
    changed = False
    angles = [element.attrib["angle"] for element in root.iter("compiler") if "angle" in element.attrib]
    per_radian = 1.0 if angles[-1:] == ["radian"] else math.degrees(1.0)
    for body in [e for world in root.iter("worldbody") for e in world.iter("body")]:
        for joint in [e for e in body if e.tag in ("joint", "freejoint")]:
            kind = model.joint(joint.attrib["name"]).type[0]
            if kind == mujoco.mjtJoint.mjJNT_FREE:
                body.remove(joint)
                changed = True
            elif kind == mujoco.mjtJoint.mjJNT_BALL:
                _refuse_driven(root, joint.attrib["name"], path)
                place = list(body).index(joint)
                body.remove(joint)
                body[place:place] = list(_hinges_of_ball(joint, model, per_radian))
                changed = True
    for world in list(root.iter("worldbody")):
        for element, carrier, below in list(_bodies(world, None)):
            if len(below.findall("joint")) > 1:
                _in_a_row(root, element, carrier, below)
                changed = True
    if changed:
        for keyframe in root.findall("keyframe"):  # states of the model as it was
            root.remove(keyframe)
    return changed


def _refuse_driven(root: ET.Element, joint: str, path: Path) -> None:
    for block in root.iter("actuator"):
        for actuator in block:
            if joint in (actuator.get("joint"), actuator.get("jointinparent")):
                raise ValueError(
                    f"{path}: actuator '{actuator.get('name')}' drives ball joint '{joint}', whose position is no one "
                    "number. Write the ball as three hinges, each with a servo."
                )


def _hinges_of_ball(joint: ET.Element, model: Any, per_radian: float) -> Iterator[ET.Element]:
    name = joint.attrib["name"]
    compiled = model.joint(name)
    limited = bool(model.jnt_limited[compiled.id])
    most = float(compiled.range[1]) if limited else math.pi
    for letter, axis in _BALL_AXES.items():
        limit = per_radian * (min(most, math.pi / 2) if letter == "y" else most)
        hinge = ET.Element(
            "joint", {k: v for k, v in joint.attrib.items() if k not in ("type", "range", "limited")}
        )
        hinge.attrib.update(name=f"{name}_{letter}", type="hinge", axis=axis, limited="true")
        hinge.set("range", f"{-limit!r} {limit!r}")
        yield hinge


def _bodies(element: ET.Element, carrier: str | None) -> Iterator[tuple[ET.Element, str | None, ET.Element]]:
    """Yield each body with the element that it stands in and the name of the body that carries it."""
    for child in element:
        if child.tag == "body":
            yield element, carrier, child
            yield from _bodies(child, child.attrib["name"])
        elif child.tag == "frame":
            yield from _bodies(child, carrier)


def _in_a_row(root: ET.Element, place: ET.Element, carrier: str | None, body: ET.Element) -> None:
    """Put a body below new ones that carry its first joints; what collided with what stays as it was."""
    name = body.attrib["name"]
    first = body.findall("joint")[:-1]
    pose = {key: body.attrib.pop(key) for key in _POSE if key in body.attrib}
    rows = []
    for joint in first:
        body.remove(joint)
        row = ET.Element("body", name=f"{name}/{joint.attrib['name']}")
        row.append(ET.Element("inertial", _LINK_INERTIAL))
        row.append(joint)
        rows.append(row)
    rows[0].attrib.update(pose)
    place[list(place).index(body)] = rows[0]
    for above, below in zip(rows, (*rows[1:], body), strict=True):
        above.append(below)
    if carrier is not None:  # a body does not collide with the one that carries it
        contact = root.find("contact")
        contact = ET.SubElement(root, "contact") if contact is None else contact
        ET.SubElement(contact, "exclude", body1=carrier, body2=name)
