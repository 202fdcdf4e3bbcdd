"""Which part of each fingertip touches, and keypoints along the fingers: from geometry at the resting pose."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.hands.description import ContactPatch, HandDescription, Semantics, Vector
from sceneleapultra.hands.doctor.motion import Motion
from sceneleapultra.hands.sampling import contact_set, primitive_mesh, sphere_set
from sceneleapultra.hands.semantics import CONTACT_MIN_COS, CONTACT_SEED, CONTACTS_PER_TIP

KEYPOINT_RADIUS_M = 0.01
_APART_M = 0.02  # keypoints of one body


def find_pads(
    motion: Motion, sign: Int[np.ndarray, "j"], rest: Float[np.ndarray, "j"], semantics: Semantics
) -> tuple[tuple[ContactPatch, ...], list[str]]:
    """Return a contact patch for each finger, and the bodies of fingertips on which none was found.

    The pad looks the way the tip moves when the finger closes; it lies on the primitive, of the bodies at the finger's
    end, that reaches farthest.

    Args:
        motion: of the hand.
        sign: in which each joint closes.
        rest: the resting pose.
        semantics: with the fingers.
    """
    T = motion.bodies(rest)
    velocity = (motion.effects(rest).velocity * (sign * motion.hand.joint_scale.numpy())[:, None]).sum(1)
    tips = motion.tips(rest)
    patches, missing = [], []
    for f, chain in enumerate(motion.fingers):
        pad = velocity[f] / max(np.linalg.norm(velocity[f]), 1e-12)
        start = T[motion.hand.body_names.index(chain.moved[-1]), :3, 3]
        distal = tips[f] - start - ((tips[f] - start) @ pad) * pad
        distal = distal / max(np.linalg.norm(distal), 1e-12)
        patch = next(
            (
                p
                for p in _candidates(motion, chain.groups[-1], pad, distal, T)
                if _works(motion, semantics, p)
            ),
            None,
        )
        if patch is None:
            missing.append(motion.carrier(f))
        else:
            patches.append(patch)
    return tuple(patches), missing


def find_keypoints(motion: Motion) -> dict[str, tuple[Vector, ...]]:
    """Return centers of the largest spheres in each body of the fingers, so far apart."""
    description = motion.hand.description
    spheres = sphere_set(description)
    found: dict[str, tuple[Vector, ...]] = {}
    for chain in motion.fingers:
        for body in chain.bodies:
            own = np.flatnonzero(spheres.body == description.body_names.index(body))
            own = own[np.argsort(-spheres.radii[own], kind="stable")]
            kept: list[int] = []
            for k in own:
                if all(np.linalg.norm(spheres.centers[k] - spheres.centers[i]) >= _APART_M for i in kept):
                    kept.append(int(k))
            if kept:
                found[body] = tuple(tuple(round(float(x), 5) for x in spheres.centers[k]) for k in kept)
    return found


def _candidates(
    motion: Motion,
    bodies: tuple[str, ...],
    pad: Float[np.ndarray, "3"],
    distal: Float[np.ndarray, "3"],
    T: Float[np.ndarray, "bodies 4 4"],
) -> list[ContactPatch]:
    """Return a patch on each primitive of the bodies at a finger's end, those that reach farthest first."""
    ranked = []
    for body in bodies:
        i = motion.hand.body_names.index(body)
        R = T[i, :3, :3]
        for k, primitive in enumerate(motion.hand.description.bodies[i].primitives):
            points = primitive_mesh(primitive).vertices @ R.T + T[i, :3, 3]
            reach = float((points @ (distal + 0.5 * pad)).max())
            ranked.append((reach, ContactPatch(body, k, _vector(pad @ R), _vector(distal @ R))))
    return [patch for _, patch in sorted(ranked, key=lambda entry: -entry[0])]


def _works(motion: Motion, semantics: Semantics, patch: ContactPatch) -> bool:
    description: HandDescription = motion.hand.description
    single = replace(description, semantics=replace(semantics, contacts=(patch,)))
    try:
        contact_set(single, CONTACTS_PER_TIP, CONTACT_MIN_COS, CONTACT_SEED)
    except ValueError:  # too little of it is exposed
        return False
    return True


def _vector(values: np.ndarray) -> Vector:
    return tuple(round(float(x), 4) + 0.0 for x in values)
