"""What a robot's program has to know of the hand whose grasps a model makes."""

from typing import Any

from torch import Tensor

from sceneleapultra.hands import Hand
from sceneleapultra.hands.description import SLIDE_M_PER_RAD
from sceneleapultra.models.clearance import hand_span

_VECTORS = ("palm_center", "palm_direction", "finger_direction")


def hand_card(hand: Hand) -> dict[str, Any]:
    """Describe a hand in plain containers; what its source does not say is left out.

    Lengths in metres, angles in radians, torques in newton metres; a joint's ``unit`` is rad, or m where it slides.
    ``frame`` is the body whose pose a grasp gives; the palm's vectors are in it. ``servo``: the position servos of the
    simulated hand.
    """
    actuation = hand.description.actuation
    servo = {"kp_nm_per_rad": actuation.kp, "kv_nms_per_rad": actuation.kv}
    if any(joint.slide for joint in hand.description.joints):
        arm = SLIDE_M_PER_RAD
        servo |= {"kp_n_per_m": actuation.kp / arm**2, "kv_ns_per_m": actuation.kv / arm**2}
    card: dict[str, Any] = {
        "name": hand.name,
        "description_hash": hand.table_hash,
        "frame": hand.root_body,
        "joints": [_joint(hand, i) for i in range(hand.num_joints)],
        "servo": servo,
        "span_m": hand_span(hand),
    }
    card |= {name: _plain(getattr(hand, name)) for name in _VECTORS if hand.knows(name)}
    for name in ("finger_bodies", "fingertip_bodies", "thumb"):
        if hand.knows(name):
            card[name] = getattr(hand, name)
    return card


def _joint(hand: Hand, i: int) -> dict[str, Any]:
    described = hand.description.joints[i]
    unit = "m" if described.slide else "rad"
    joint: dict[str, Any] = {
        "name": described.name,
        "unit": unit,
        "lower": described.lower,
        "upper": described.upper,
    }
    for name, attribute in (("rest", "rest_qpos"), ("flexion_sign", "flexion_sign")):
        if hand.knows(attribute):
            joint[name] = _plain(getattr(hand, attribute)[i])
    return joint


def _plain(values: Tensor) -> Any:
    return values.detach().cpu().tolist()
