"""How the actuators of an MJCF become position servos, whose target is the length or angle that they hold.

What is one already stays as it is. One whose control is scaled (0 to 255 for 0 to 4 cm) is written in the units of
what it moves. Motors and other actuators are given the gains of `actuation`.
"""

import logging
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Bool, Float

from sceneleapultra.hands.description import SLIDE_M_PER_RAD, Actuation, Joint
from sceneleapultra.hands.importers.xml_values import listed

_LOG = logging.getLogger(__name__)
_TRANSMISSION = {
    "name",
    "class",
    "group",
    "joint",
    "jointinparent",
    "tendon",
    "cranksite",
    "slidersite",
    "cranklength",
}
_TRANSMISSION |= {"site", "refsite", "body", "gear", "forcelimited", "forcerange", "lengthrange"}
_DRAWS = 3


def moments(model: Any) -> Float[np.ndarray, "m v"]:
    """Return the largest arm with which each actuator moves each degree of freedom, over a few poses."""
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    largest = np.zeros((model.nu, model.nv))
    low, high = np.where(model.jnt_limited[:, None], model.jnt_range, (-1.0, 1.0)).T
    for _ in range(_DRAWS):
        data.qpos[model.jnt_qposadr] = rng.uniform(low, high)
        mujoco.mj_forward(model, data)
        dense = np.zeros((model.nu, model.nv))
        mujoco.mju_sparse2dense(
            dense, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
        )
        largest = np.maximum(largest, np.abs(dense))
    return largest


def write_servos(root: ET.Element, model: Any, actuation: Actuation, *, replace: bool, path: Path) -> None:
    """Write every actuator as a position servo.

    Args:
        root: of the model, with names and one joint per body at most.
        model: compiled from it.
        actuation: gains of what is no position servo.
        replace: gives these gains to all.
        path: the model's file, for messages.
    """
    arms = moments(model) * np.where(model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE, SLIDE_M_PER_RAD, 1.0)
    servos = np.array([_is_servo(model, i) for i in range(model.nu)], dtype=bool)
    held: Bool[np.ndarray, "v"] = np.asarray((arms[servos] > 0).any(0))
    changed: list[str] = []
    dropped: list[str] = []
    for block in root.findall("actuator"):
        for element in list(block):
            i = model.actuator(element.attrib["name"]).id
            if not _is_servo(model, i) and held[arms[i] > 0].all():
                block.remove(element)  # the damper or motor beside a servo
                dropped.append(element.attrib["name"])
                continue
            gains = _gains(model, i, arms[i], actuation, replace)
            if gains is None:
                continue
            if not _is_servo(model, i):
                changed.append(element.attrib["name"])
            _write(element, model, i, gains, replace or not _is_servo(model, i))
    if changed:
        _LOG.warning(
            "%s: %s: no position servo, taken as one with kp %g",
            path,
            listed(changed, "actuator"),
            actuation.kp,
        )
    if dropped:
        _LOG.warning(
            "%s: %s left out beside the servos of the same joints", path, listed(dropped, "actuator")
        )


def add_servos(root: ET.Element, joints: Iterable[Joint], actuation: Actuation) -> None:
    """Give each joint a position servo, named as it."""
    block = ET.SubElement(root, "actuator")
    for joint in joints:
        arm = SLIDE_M_PER_RAD if joint.slide else 1.0
        gains = {"kp": repr(actuation.kp / arm**2), "kv": repr(actuation.kv / arm**2)}
        limits = f"{joint.lower!r} {joint.upper!r}"
        ET.SubElement(
            block, "position", gains, name=joint.name, joint=joint.name, ctrlrange=limits, ctrllimited="true"
        )


def write_actuation(root: ET.Element, model: Any, actuation: Actuation) -> None:
    """Give every joint and geom of the hand the damping, friction and contact stiffness of `actuation`."""
    joints = [e for world in root.iter("worldbody") for e in world.iter("joint")]
    for joint in joints:
        slide = model.joint(joint.attrib["name"]).type[0] == mujoco.mjtJoint.mjJNT_SLIDE
        arm = SLIDE_M_PER_RAD if slide else 1.0
        joint.attrib.update(
            damping=repr(actuation.damping / arm**2),
            frictionloss=repr(actuation.frictionloss / arm),
            armature=repr(actuation.armature / arm**2),
        )
    for geom in [e for world in root.iter("worldbody") for e in world.iter("geom")]:
        for key in ("friction", "solref", "solimp"):
            geom.set(key, " ".join(repr(float(x)) for x in getattr(actuation, key)))


def _is_servo(model: Any, i: int) -> bool:
    """Tell whether an actuator holds a position: force = gain * control + bias - kp * length - kv * velocity."""
    return bool(
        model.actuator_dyntype[i] == mujoco.mjtDyn.mjDYN_NONE
        and model.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_FIXED
        and model.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_AFFINE
        and model.actuator_biasprm[i, 1] < 0
        and model.actuator_gainprm[i, 0] > 0
    )


def _gains(
    model: Any, i: int, arms: Float[np.ndarray, "v"], actuation: Actuation, replace: bool
) -> tuple[float, float] | None:
    """Return kp and kv to write, None where the actuator may stay as it is."""
    if _is_servo(model, i) and not replace:
        bias = model.actuator_biasprm[i]
        if bias[0] == 0 and model.actuator_gainprm[i, 0] == -bias[1]:
            return None
        return float(-bias[1]), float(-bias[2])
    most = float(arms.max(initial=0.0)) or 1.0  # m or rad of its length per radian of a joint
    return actuation.kp / most**2, actuation.kv / most**2


def _write(element: ET.Element, model: Any, i: int, gains: tuple[float, float], replace: bool) -> None:
    kp, kv = gains
    kept = {key: value for key, value in element.attrib.items() if key in _TRANSMISSION}
    element.attrib.clear()
    element.tag = "general"
    element.attrib.update(
        kept,
        dyntype="none",
        gaintype="fixed",
        gainprm=repr(kp),
        biastype="affine",
        biasprm=f"0 {-kp!r} {-kv!r}",
    )
    if replace or not model.actuator_ctrllimited[i]:
        element.set("ctrllimited", "false")
        return
    gain, bias = float(model.actuator_gainprm[i, 0]), float(model.actuator_biasprm[i, 0])
    low, high = ((gain * float(end) + bias) / kp for end in model.actuator_ctrlrange[i])
    element.set("ctrllimited", "true")
    element.set("ctrlrange", f"{low!r} {high!r}")
