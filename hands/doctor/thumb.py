"""Which finger opposes the others."""

import re

import numpy as np

from sceneleapultra.hands.doctor.closing import Flexion
from sceneleapultra.hands.doctor.motion import Motion

_NAMED = re.compile(r"thumb|(^|[^a-z])th([^a-z]|$)", re.IGNORECASE)


def choose_thumb(motion: Motion, flexions: list[Flexion]) -> tuple[int, bool]:
    """Return the finger that opposes the others most, and whether its name says so.

    A single finger with a thumb's name is the thumb; else the one whose axis of bending agrees least with the others'.
    """
    description = motion.hand.description
    joint_of = {body.name: body.joint.name for body in description.bodies if body.joint is not None}
    named = [
        f
        for f, chain in enumerate(motion.fingers)
        if any(_NAMED.search(f"{body} {joint_of.get(body, '')}") for body in chain.bodies)
    ]
    if len(named) == 1:
        return named[0], True
    effects, number = motion.effects(motion.neutral), len(flexions)
    axes = np.zeros((number, 3))
    for f, flexion in enumerate(flexions):
        axis = flexion.sign @ effects.rotation[f]
        axis = axis if np.linalg.norm(axis) > 1e-6 else flexion.sign @ effects.velocity[f]
        axes[f] = axis / max(np.linalg.norm(axis), 1e-12)
    agreement = (axes @ axes.T).sum(1)
    return int(np.argmin(agreement.round(3))), False
