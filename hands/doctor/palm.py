"""Where the palm is, which way it looks, and where the thumb rests: the reading under which the hand grips best.

A hand's fingers leave the palm sideways and bend in front of it: it looks the way in which fingertips bend. A claw's
fingers leave it forward: it looks the way in which they stand out. Both are tried, with the thumb's spreading joints
all over their ranges, by how many places before the palm a ball is gripped at.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.hands.description import Palm
from sceneleapultra.hands.doctor.grip import BALLS_M, Closing, Grip, closing_of
from sceneleapultra.hands.doctor.motion import Motion

_ABOUT_M = 0.025  # about the line through the grasp's center: the palm's surface there is what counts
_CLAW_DEPTH_M = 0.04  # from the grasp's center back to the center of a claw's palm
_CLAW_FINGERS, _PARALLEL = 3, 0.9  # more fingers than that, nearly all bending one way, are never a claw
_AGREE = 0.5  # length of the mean of unit vectors that count as one direction
_SAMPLES = {0: 1, 1: 9, 2: 5, 3: 3}  # of each of the thumb's spreading joints, by their number
_GRID_M = 0.025
_NEUTRAL_WEIGHT = 0.1  # of all spreading joints at an end of their ranges, as a share of the grip


@dataclass(frozen=True)
class PalmReading:
    """A palm, read as that of a hand or of a claw.

    Attributes:
        kind: hand or claw.
        palm: center and directions.
        rest: the resting pose.
        center: of the grasp, in the base frame.
        grip: mean quality of the grip over the places that were tried, 0 to 1.
    """

    kind: str
    palm: Palm
    rest: Float[np.ndarray, "j"]
    center: Float[np.ndarray, "3"]
    grip: float


def read_palm(
    motion: Motion, sign: Int[np.ndarray, "j"], rest: Float[np.ndarray, "j"], thumb: int
) -> list[PalmReading]:
    """Return the readings, the one that grips best first; none where no place is gripped at.

    Args:
        motion: of the hand.
        sign: in which each joint closes.
        rest: the resting pose but for the thumb's spreading joints.
        thumb: number of the finger that opposes the others.
    """
    closing = closing_of(motion, sign, thumb)
    for ball_m in BALLS_M:
        if found := _readings(motion, closing, rest, Grip(motion, ball_m)):
            return found
    return []


def _readings(
    motion: Motion, closing: Closing, rest: Float[np.ndarray, "j"], grip: Grip
) -> list[PalmReading]:
    thumb = closing.thumb
    bends, stands = _directions(motion, closing, rest)
    tips = motion.tips(rest)
    between = tips[thumb] - np.delete(tips, thumb, axis=0).mean(0)
    directions = []
    is_hand = len(tips) > _CLAW_FINGERS and np.linalg.norm(bends) > _PARALLEL
    if np.linalg.norm(bends) > _AGREE:
        along = _unit(stands)
        directions.append(("hand", _unit(bends - (bends @ along) * along), along))
    if np.linalg.norm(stands) > _AGREE and not is_hand:
        directions.append(("claw", _unit(stands), _perpendicular(_unit(stands), between)))
    poses = _thumb_poses(motion, closing.sign, rest, thumb)
    places = _places(motion, rest, grip.ball_m)
    found = []
    for kind, direction, along in directions:
        quality = np.array([grip.quality(pose, closing, places, direction) for pose in poses])
        away = np.abs(poses - rest).sum(1) / max(1e-9, float(np.abs(poses - rest).sum(1).max()))
        best = int(np.argmax(quality.sum(1) * (1 - _NEUTRAL_WEIGHT * away)))
        weight = quality[best]
        if weight.sum() <= 0:
            continue
        center = weight @ places / weight.sum()
        palm = _surface(motion, poses[best], center, direction, kind == "claw")
        reading = Palm(_vector(palm), _vector(direction), _vector(along))
        found.append(PalmReading(kind, reading, poses[best], center, float(weight.mean())))
    return sorted(found, key=lambda reading: -reading.grip)


def _directions(
    motion: Motion, closing: Closing, rest: Float[np.ndarray, "j"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Return the mean unit directions in which the tips of the fingers bend, and in which fingers stand out."""
    stretched = np.where(closing.sign != 0, motion.neutral, rest)
    bent = np.clip(stretched + 0.4 * closing.sign * motion.hand.joint_scale.numpy(), *motion.limits.T)
    tips, bases = motion.tips(stretched), motion.bases(stretched)
    bend, stand = _unit(motion.tips(bent) - tips), _unit(tips - bases)
    others = [f for f in range(len(bend)) if f != closing.thumb]
    fingers = others if len(others) > 1 else list(range(len(bend)))
    return bend[fingers].mean(0), stand[fingers].mean(0)


def _thumb_poses(
    motion: Motion, sign: Int[np.ndarray, "j"], rest: Float[np.ndarray, "j"], thumb: int
) -> Float[np.ndarray, "m j"]:
    """Return resting poses with the thumb's spreading joints all over their ranges; the given one is first."""
    shared = np.any([motion.own(f) for f in range(len(motion.fingers)) if f != thumb], axis=0)
    depth = motion.depth(thumb)
    free = sorted(np.flatnonzero(motion.own(thumb) & (sign == 0) & ~shared), key=lambda k: depth[k])[:3]
    low, high = motion.limits.T
    ranges = [np.linspace(float(low[k]), float(high[k]), _SAMPLES[len(free)]) for k in free]
    poses = [rest]
    for values in itertools.product(*ranges):
        pose = rest.copy()
        pose[free] = values
        poses.append(pose)
    return np.array(poses)


def _places(motion: Motion, rest: Float[np.ndarray, "j"], ball_m: float) -> Float[np.ndarray, "p 3"]:
    """Return a grid of places about the hand, as far as its fingers reach."""
    fingers = [b for chain in motion.fingers for b in chain.bodies]
    points = motion.placed(fingers, rest)
    low, high = points.min(0) - 2 * ball_m, points.max(0) + 2 * ball_m
    axes = [np.arange(a, b, min(_GRID_M, ball_m)) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _surface(
    motion: Motion,
    rest: Float[np.ndarray, "j"],
    center: Float[np.ndarray, "3"],
    direction: Float[np.ndarray, "3"],
    claw: bool,
) -> Float[np.ndarray, "3"]:
    """Return the point of the palm's surface behind the grasp's center; for a claw at most so far behind it."""
    palm = motion.placed(motion.palm, rest)
    if not len(palm):
        palm = motion.bases(rest)
    aside = palm - center - ((palm - center) @ direction)[:, None] * direction
    near = np.linalg.norm(aside, axis=1)
    height = (palm[near <= max(_ABOUT_M, near.min() + 0.005)] @ direction).max()
    back = center @ direction - height
    return center - (min(back, _CLAW_DEPTH_M) if claw else back) * direction


def _perpendicular(
    direction: Float[np.ndarray, "3"], between: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3"]:
    """Return what is perpendicular to a direction and to the line between opposing fingers."""
    normal = np.cross(between, direction)
    if np.linalg.norm(normal) < 1e-6:
        normal = np.cross(np.eye(3)[int(np.abs(direction).argmin())], direction)
    return _unit(normal)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _vector(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(x), 6) + 0.0 for x in values)
