"""What the parts of a hand mean, proposed: palm, fingers, thumb, closing joints, resting pose, pads, keypoints."""

from dataclasses import dataclass, replace

import numpy as np

from sceneleapultra.hands.description import Semantics
from sceneleapultra.hands.doctor.closing import find_flexions, half_open, joint_signs
from sceneleapultra.hands.doctor.motion import Motion
from sceneleapultra.hands.doctor.pads import KEYPOINT_RADIUS_M, find_keypoints, find_pads
from sceneleapultra.hands.doctor.palm import PalmReading, read_palm
from sceneleapultra.hands.doctor.thumb import choose_thumb
from sceneleapultra.hands.hand import Hand


@dataclass(frozen=True)
class Proposal:
    """What a hand is taken for.

    Attributes:
        hand: with the proposed semantics.
        kind: whether its palm is that of a hand or of a claw; `card` where a person wrote it.
        remarks: what a person should look at.
    """

    hand: Hand
    kind: str
    remarks: tuple[str, ...]


def propose(hand: Hand) -> list[Proposal]:
    """Propose the semantics of a hand, the likelier reading first.

    Raises:
        ValueError: fewer than two fingers move, or they do not meet anywhere.
    """
    motion = Motion(hand)
    if len(motion.fingers) < 2:
        found = ", ".join(_finger_names(motion)) or "none"
        raise ValueError(
            f"Hand '{hand.name}': expected at least two fingers that joints move, found {found}. Is this the hand's "
            "whole file, and do its fingers have collision shapes?"
        )
    flexions = find_flexions(motion)
    sign, disputed = joint_signs(motion, flexions)
    sure = np.any([(f.sign != 0) & f.sure for f in flexions], axis=0)
    thumb, named = choose_thumb(motion, flexions)
    readings = read_palm(motion, sign, half_open(motion, sign, sure), thumb)
    if not readings:
        raise ValueError(
            f"Hand '{hand.name}': closing its joints brings no finger against another, so it is not known how it "
            "grasps. Check axes and limits, or write its `semantics` as docs/hands.md says."
        )
    remarks = []
    names = _finger_names(motion)
    if disputed:
        which = ", ".join(hand.joint_names[k] for k in disputed)
        remarks.append(f"fingers that share {which} disagree about which way closes them")
    unsure = [names[f] for f, flexion in enumerate(flexions) if not flexion.sure]
    if unsure:
        remarks.append(
            f"{', '.join(unsure)}: where the other fingers are says which way closes; does the animation close?"
        )
    if not named and len(motion.fingers) > 2:
        remarks.append(f"thumb: no name says so; {names[thumb]} opposes the others most")
    if len(readings) > 1:
        share = readings[1].grip / readings[0].grip
        remarks.append(
            f"palm: read as that of a {readings[0].kind}; as a {readings[1].kind} it would grip {share:.0%} as well"
        )
    return [_proposal(motion, sign, thumb, names, reading, remarks) for reading in readings]


def _proposal(
    motion: Motion,
    sign: np.ndarray,
    thumb: int,
    names: list[str],
    reading: PalmReading,
    remarks: list[str],
) -> Proposal:
    hand = motion.hand
    semantics = Semantics(
        palm=reading.palm,
        fingers={name: chain.bodies for name, chain in zip(names, motion.fingers, strict=True)},
        thumb=names[thumb],
        flexion_sign={joint: int(s) for joint, s in zip(hand.joint_names, sign, strict=True)},
        rest_qpos={j: round(float(q), 4) + 0.0 for j, q in zip(hand.joint_names, reading.rest, strict=True)},
    )
    pads, without = find_pads(motion, sign, reading.rest, semantics)
    if without:
        remarks = [*remarks, f"no contact patch found on {', '.join(without)}"]
    keypoints = find_keypoints(motion)
    semantics = replace(
        semantics,
        contacts=pads or None,
        keypoints=keypoints or None,
        keypoint_radius=KEYPOINT_RADIUS_M if keypoints else None,
    )
    description = replace(hand.description, semantics=semantics)
    return Proposal(Hand(description), reading.kind, tuple(remarks))


def _finger_names(motion: Motion) -> list[str]:
    """Name each finger by its first body, as fingers that the tree tells are named."""
    return [chain.moved[0] for chain in motion.fingers]
