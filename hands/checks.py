"""Whether the numbers of a description can be those of a hand: radians and metres, joints that move."""

from pathlib import Path

import numpy as np

from sceneleapultra.hands.description import HandDescription, Joint, Primitive
from sceneleapultra.utils.geometry.mesh_files import guess_units

MAX_LINK_M = 1.0
LINK_SIZES_M = (0.01, 0.4)  # of most links of hands
_TURN = 2 * np.pi + 1e-3


def check_plausible(description: HandDescription, source: Path) -> None:
    """Refuse what was written in other units, and a floating base: it would be simulated as it stands.

    Raises:
        ValueError: a joint's limits look like degrees or leave it no room, a shape looks like millimetres, or a slide
            of metres carries all other joints.
    """
    slides = [j for j in description.joints if j.slide]
    far = [j for j in slides if max(abs(j.lower), abs(j.upper)) > MAX_LINK_M]
    if far:
        first = far[0]
        if _leads_all(description, first):
            raise ValueError(
                f"{source}: slide '{first.name}' moves the whole hand, from {first.lower:g} to {first.upper:g} m: a "
                "floating base. Leave such joints out, or make them fixed: a grasp's pose says where the hand is."
            )
        raise ValueError(
            f"{source}: slide '{first.name}' may move from {first.lower:g} to {first.upper:g} m: "
            f"{guess_units(first.upper - first.lower, 0.005, 0.3)}. Write its limits in metres."
        )
    wide = [j for j in description.joints if not j.slide and max(abs(j.lower), abs(j.upper)) > _TURN]
    if wide:
        first = wide[0]
        raise ValueError(
            f"{source}: joint '{first.name}' may turn from {first.lower:g} to {first.upper:g} rad: looks like degrees"
            f"{f', {len(wide)} joints alike' if len(wide) > 1 else ''}. Write limits in radians, at most 2 pi."
        )
    for joint in description.joints:
        if not joint.lower < joint.upper:
            raise ValueError(
                f"{source}: joint '{joint.name}' may move from {joint.lower:g} to {joint.upper:g}, so not at all. "
                "Give it a range, or make it fixed."
            )
    for body in description.bodies:
        for primitive in body.primitives:
            extent = _extent(primitive)
            if not extent <= MAX_LINK_M:
                raise ValueError(
                    f"{source}: a {primitive.shape} of '{body.name}' spans {extent:.3g} m: "
                    f"{guess_units(extent, *LINK_SIZES_M)}. Write lengths in metres."
                )


def _leads_all(description: HandDescription, joint: Joint) -> bool:
    """Whether every other joint hangs on one, or carries it."""
    above: dict[str, set[str]] = {}  # bodies, each with those that carry it
    for body in description.bodies:
        above[body.name] = {body.name} | (above[body.parent] if body.parent else set())
    jointed = [body.name for body in description.bodies if body.joint is not None]
    (own,) = [body.name for body in description.bodies if body.joint == joint]
    carried = [name for name in jointed if own in above[name] and name != own]
    return bool(carried) and all(own in above[name] or name in above[own] for name in jointed)


def _extent(primitive: Primitive) -> float:
    if primitive.shape == "convex":
        return float(np.ptp(np.asarray(primitive.vertices), axis=0).max())
    if primitive.shape in ("capsule", "cylinder"):
        radius, half_length = primitive.size
        return 2 * max(radius, half_length + radius * (primitive.shape == "capsule"))
    return 2 * max(primitive.size)
