"""Hands that are drawn: number of fingers, lengths of links and limits of joints follow from a seed.

They widen what a model for many hands is trained on. ``procedural_<seed>`` names one wherever a hand is named.
Base frame: the palm's surface is the plane x = 0, fingers point along +z, the thumb is at the palm's other end and
closes towards them. A link is a capsule along the +z of its body; its pad looks along +x, closing turns it about +y.
"""

import re
from itertools import pairwise

import numpy as np

from sceneleapultra.hands.description import (
    IDENTITY_QUAT,
    Actuation,
    Body,
    ContactPatch,
    HandDescription,
    Palm,
    Primitive,
    Semantics,
    Vector,
)
from sceneleapultra.hands.drawn_finger import DrawnFinger

_NAME = re.compile(r"procedural_(\d+)")
_TO_FINGERS: Vector = (0.0, 0.5**0.5, 0.0, 0.5**0.5)  # z to the palm's direction, x to the fingers'
_ACTUATION = Actuation(
    kp=3.0,  # N m / rad
    kv=0.01,
    damping=0.05,
    frictionloss=0.001,
    armature=0.0001,
    friction=(0.5,),
    solref=(0.005, 1.0),
    solimp=(0.5, 0.99, 0.0001),
)


def procedural_seed(name: str) -> int | None:
    """Return the seed of a drawn hand's name; None for any other name."""
    found = _NAME.fullmatch(name)
    return None if found is None else int(found[1])


def draw_hand(seed: int) -> HandDescription:
    """Draw a hand of two to four fingers and a thumb; the same seed draws the same hand."""
    rng = np.random.default_rng([seed, 17])
    count = int(rng.integers(2, 5))
    radius, spacing = rng.uniform(0.009, 0.012), rng.uniform(0.034, 0.046)
    half = (rng.uniform(0.012, 0.018), spacing * count / 2, rng.uniform(0.036, 0.048))
    lengths: Vector = (rng.uniform(0.042, 0.056), rng.uniform(0.032, 0.042), rng.uniform(0.022, 0.032))
    lengths = lengths[: int(rng.integers(2, 4))]
    if len(lengths) == 2:
        lengths = (lengths[0], lengths[1] + 0.012)
    aside = float(rng.uniform(0.2, 0.5)) if rng.random() < 0.7 else None
    most = tuple((float(rng.uniform(-0.3, 0.0)), float(rng.uniform(1.4, 1.9))) for _ in lengths)
    fingers = []
    for i in range(count):
        scale = rng.uniform(0.88, 1.0)
        fingers.append(
            DrawnFinger(
                name=f"finger_{i}",
                pos=(-half[0], spacing * ((count - 1) / 2 - i), 0.0),
                quat_wxyz=IDENTITY_QUAT,
                lengths=tuple(float(scale * x) for x in lengths),
                radius=float(radius),
                aside=aside,
                limits=most,
                rest=(0.45, 0.45, 0.3)[: len(lengths)],
            )
        )
    thumb_limits = tuple((float(rng.uniform(-0.6, -0.3)), float(rng.uniform(1.2, 1.7))) for _ in range(2))
    thumb = DrawnFinger(
        name="thumb",
        pos=(-half[0] / 2, float(rng.uniform(-0.25, 0.25) * spacing), -1.7 * half[2]),
        quat_wxyz=_TO_FINGERS,
        lengths=(float(rng.uniform(0.042, 0.056)), float(rng.uniform(0.036, 0.046))),
        radius=float(1.05 * radius),
        aside=float(rng.uniform(0.4, 0.8)),
        limits=thumb_limits,
        rest=(0.1, 0.2),
    )
    return _assembled(f"procedural_{seed}", half, [*fingers, thumb])


def _assembled(name: str, half: tuple[float, float, float], fingers: list[DrawnFinger]) -> HandDescription:
    box = Primitive("box", half, (-half[0], 0.0, -half[2]))
    palm = Body("palm", None, (0.0, 0.0, 0.0), IDENTITY_QUAT, None, None, (box,))
    bodies = [palm, *(body for finger in fingers for body in finger.bodies())]
    sides = [finger.side for finger in fingers if finger.aside is not None]
    flexion = {link: 1 for finger in fingers for link in finger.links} | dict.fromkeys(sides, 0)
    rest = {j: q for f in fingers for j, q in zip(f.links, f.rest, strict=True)} | dict.fromkeys(sides, 0.0)
    chains = {f.name: ((f.side,) if f.aside is not None else ()) + f.links for f in fingers}
    knuckles = [chain[0] for chain in chains.values()]
    semantics = Semantics(
        palm=Palm(
            center=(0.0, 0.0, -half[2] / 2), direction=(1.0, 0.0, 0.0), finger_direction=(0.0, 0.0, 1.0)
        ),
        fingers=chains,
        thumb=fingers[-1].name,
        flexion_sign=flexion,
        rest_qpos=rest,
        contacts=tuple(ContactPatch(f.links[-1], 0, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)) for f in fingers),
        keypoint_radius=0.01,
        keypoints={
            link: ((0.0, 0.0, length / 2), (0.0, 0.0, length))
            for f in fingers
            for link, length in zip(f.links, f.lengths, strict=True)
        },
    )
    near = [
        ("palm", link) for f in fingers for link in (*([f.side] if f.aside is not None else []), f.links[0])
    ]
    near += list(pairwise(knuckles[:-1]))
    return HandDescription(name, tuple(bodies), _ACTUATION, semantics, excludes=tuple(near))
