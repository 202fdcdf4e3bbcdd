"""What the joints of a URDF are: types, limits, and who mimics whom."""

import xml.etree.ElementTree as ET
from pathlib import Path

from sceneleapultra.hands.description import Coupling
from sceneleapultra.hands.importers.xml_values import attribute, listed, numbers

_MOVING = ("revolute", "continuous", "prismatic")


def read_joints(robot: ET.Element, path: Path) -> dict[str, Coupling]:
    """Write down what a URDF implies (limits, axes, a base that stands still), and return who follows whom.

    Raises:
        ValueError: joints of a type that is not simulated, without limits, or that mimic what they cannot; all named.
    """
    joints = {attribute(joint, "name", path): joint for joint in robot.findall("joint")}
    _fix_base(robot, joints, path)
    moving = {name: joint for name, joint in joints.items() if joint.get("type") in _MOVING}
    for joint in moving.values():
        if joint.find("axis") is None:
            ET.SubElement(joint, "axis", xyz="1 0 0")  # URDF's default
    couplings = _read_mimics(moving, path)
    for name in couplings:
        for element in (*moving[name].findall("mimic"), *moving[name].findall("limit")):
            moving[name].remove(element)
        if moving[name].get("type") == "revolute":
            moving[name].set("type", "continuous")
    _write_limits({name: joint for name, joint in moving.items() if name not in couplings}, path)
    return couplings


def _fix_base(robot: ET.Element, joints: dict[str, ET.Element], path: Path) -> None:
    """Let a floating base stand still: the hand is led by it. Every other joint of six or three freedoms is refused."""
    children = {_link(joint, "child", path) for joint in joints.values()}
    refused = []
    for name, joint in joints.items():
        kind = attribute(joint, "type", path)
        if kind == "floating" and _link(joint, "parent", path) not in children:
            joint.set("type", "fixed")
        elif kind not in (*_MOVING, "fixed"):
            refused.append(name)
    if refused:
        raise ValueError(
            f"{path}: {listed(refused)}: expected joints of type {', '.join(_MOVING)} or fixed, got "
            f"{', '.join(sorted({joints[name].attrib['type'] for name in refused}))}. No servo drives such a joint: "
            "make it fixed, or write it as several joints in a row."
        )
    # MuJoCo takes a link of this name for the world itself, and would drop its shapes.
    for element in robot.iter():
        for key in ("name", "link"):
            if element.tag in ("link", "parent", "child") and element.get(key) == "world":
                element.set(key, "world_link")


def _link(joint: ET.Element, end: str, path: Path) -> str:
    element = joint.find(end)
    if element is None:
        raise ValueError(f"{path}: joint '{joint.attrib['name']}' has no <{end} link=…>. Add it.")
    return attribute(element, "link", path)


def _read_mimics(joints: dict[str, ET.Element], path: Path) -> dict[str, Coupling]:
    """Return the followers, each by the joint at the end of its chain of mimics.

    Raises:
        ValueError: some mimic a joint that does not move, or each other in a ring.
    """
    couplings, refused = {}, []
    for name in joints:
        leader, factor, offset, visited = name, 1.0, 0.0, {name}
        while leader in joints and (mimic := joints[leader].find("mimic")) is not None:
            a = numbers(mimic, "multiplier", 1, path)[0] if "multiplier" in mimic.attrib else 1.0
            b = numbers(mimic, "offset", 1, path)[0] if "offset" in mimic.attrib else 0.0
            leader, factor, offset = attribute(mimic, "joint", path), factor * a, offset + factor * b
            if leader in visited:
                break
            visited.add(leader)
        if leader == name and len(visited) == 1 and joints[name].find("mimic") is None:
            continue
        if leader not in joints or joints[leader].find("mimic") is not None:
            refused.append(name)
        couplings[name] = Coupling(leader, (0.0,), ((offset, factor),))
    if refused:
        raise ValueError(
            f"{path}: {listed(refused)} cannot follow: a joint can mimic one that moves by itself, not one that is "
            "fixed, missing, or follows it. Correct <mimic joint=…>."
        )
    return couplings


def _write_limits(joints: dict[str, ET.Element], path: Path) -> None:
    """Write the limits that URDF implies.

    Raises:
        ValueError: joints without room to move.
    """
    still = []
    for name, joint in joints.items():
        if joint.get("type") == "continuous":
            continue
        limit = joint.find("limit")
        lower, upper = (
            0.0 if limit is None or key not in limit.attrib else numbers(limit, key, 1, path)[0]
            for key in ("lower", "upper")
        )
        if limit is None or not lower < upper:
            still.append(name)
        else:
            limit.attrib.update(lower=repr(lower), upper=repr(upper))
    if still:
        raise ValueError(
            f"{path}: {listed(still)} cannot move: a revolute or prismatic joint without <limit lower=… upper=…> has "
            "the limits 0 and 0 in a URDF. Write its limits in radians or metres, or make it continuous or fixed."
        )
