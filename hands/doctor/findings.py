"""What is odd about a hand's numbers: each finding a sentence that says where, and what to do."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from sceneleapultra.hands.description import SLIDE_M_PER_RAD
from sceneleapultra.hands.hand import Hand
from sceneleapultra.hands.importers.compiled import neutral_overlaps

_MASS_KG = (0.02, 8.0)  # of whole hands
_SIZE_M = (0.05, 0.6)
_SERVO_NM = (0.05, 200.0)
_LISTED = 6


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is as it should be, and what was found."""

    topic: str
    level: Literal["fine", "check", "wrong"]
    text: str


def examine(hand: Hand) -> list[Finding]:
    """Look at a hand's limits, units, masses, shapes, overlaps, couplings and servos."""
    return [
        _limits(hand),
        _size(hand),
        _mass(hand),
        _shapes(hand),
        _overlaps(hand),
        _couplings(hand),
        _servos(hand),
    ]


def _limits(hand: Hand) -> Finding:
    low, high = hand.joint_limits.T
    wide = [
        name
        for name, span, scale in zip(
            hand.joint_names, (high - low).tolist(), hand.joint_scale.tolist(), strict=True
        )
        if scale == 1 and span > np.pi + 0.1
    ]
    slides = sum(scale != 1 for scale in hand.joint_scale.tolist())
    what = f"{hand.num_joints} joints move by themselves, {slides} of them slides"
    if wide:
        return Finding(
            "limits", "check", f"{what}; more than half a turn: {_listed(wide)}. Are these limits right?"
        )
    return Finding("limits", "fine", f"{what}; all within half a turn")


def _size(hand: Hand) -> Finding:
    vertices, _ = hand.mesh(hand.joint_limits.mean(1))
    extent = float(np.ptp(vertices, axis=0).max())
    if not _SIZE_M[0] < extent < _SIZE_M[1]:
        return Finding(
            "size", "check", f"{1e3 * extent:.0f} mm across. Is the file in metres, and is it the hand alone?"
        )
    return Finding("size", "fine", f"{1e3 * extent:.0f} mm across")


def _mass(hand: Hand) -> Finding:
    bodies = hand.description.bodies
    known = {body.name: body.inertial.mass for body in bodies if body.inertial is not None}
    without = [body.name for body in bodies if body.name not in known and body.primitives]
    total = sum(known.values())
    flat = [
        body.name
        for body in bodies
        if body.inertial is not None
        and max(body.inertial.moments) > 1.001 * sum(sorted(body.inertial.moments)[:2])
    ]
    if flat:
        return Finding(
            "mass", "wrong", f"inertia that no body can have: {_listed(flat)}. Correct its moments."
        )
    if without:
        return Finding(
            "mass", "check", f"{total:.2f} kg; taken from their shapes at 1,000 kg/m³: {_listed(without)}"
        )
    if not _MASS_KG[0] < total < _MASS_KG[1]:
        return Finding("mass", "check", f"{total:.3g} kg in all. Are its masses in kilograms?")
    return Finding("mass", "fine", f"{total:.2f} kg in all")


def _shapes(hand: Hand) -> Finding:
    bodies = hand.description.bodies
    bare = [b.name for b in bodies if b.joint is not None and not b.primitives]
    number = sum(len(b.primitives) for b in bodies)
    if bare:
        return Finding(
            "collision shapes",
            "check",
            f"{number} convex shapes; none on moving {_listed(bare)}: they touch nothing",
        )
    return Finding("collision shapes", "fine", f"{number} convex shapes, some on each moving body")


def _overlaps(hand: Hand) -> Finding:
    apart = {frozenset(pair) for pair in hand.description.non_colliding()}
    pairs = [" and ".join(p) for p in neutral_overlaps(hand.description) if frozenset(p) not in apart]
    if pairs:
        return Finding(
            "overlaps at rest", "check", f"{_listed(pairs)}: they push each other apart in simulation"
        )
    return Finding("overlaps at rest", "fine", "no two links overlap, but those that never collide")


def _couplings(hand: Hand) -> Finding:
    couplings = hand.description.couplings
    low, high = hand.joint_limits.T
    ends = torch.stack((hand.all_joints(low), hand.all_joints(high)))[:, hand.num_joints :]
    far = [
        name
        for name, span in zip(couplings, (ends[1] - ends[0]).abs().tolist(), strict=True)
        if span > 2 * np.pi
    ]
    if far:
        return Finding(
            "couplings", "wrong", f"followers that turn more than once: {_listed(far)}. Check multipliers."
        )
    return Finding(
        "couplings",
        "fine",
        f"{len(couplings)} joints follow others" if couplings else "no joint follows another",
    )


def _servos(hand: Hand) -> Finding:
    if hand.description.source_mjcf is not None:
        return Finding("servos", "fine", "those of its own file")
    kp, slides = hand.description.actuation.kp, [joint.slide for joint in hand.description.joints]
    gains = [] if all(slides) else [f"{kp:g} N m/rad"]
    gains += [f"{kp / SLIDE_M_PER_RAD**2:g} N/m (slides)"] if any(slides) else []
    return Finding(
        "servos",
        "check",
        f"a URDF has none: position servos of {' and '.join(gains)} are added; `actuation` in the card changes them",
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
