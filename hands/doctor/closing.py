"""Which joints close the fingers, which way, and a hand half open: from how the fingertips move."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.hands.doctor.motion import Motion

_PARALLEL = 0.8  # cosine between axes of joints that bend a finger together
_TURNS = 0.05  # rad per rad: a tip that turns less is shifted, as by a slide or a parallelogram
_MIN_ARM_M = 0.003  # of a joint about whose axis the tip moves: with less it twists
_CURLED = 0.06  # by how much of its length a finger is shorter where it is closed
_MOST = 0.6  # of its range
_ON_PATH = 33

_REST_RAD, _LAST_REST_RAD, _REST_SHARE = 0.5, 0.3, 0.35
_UNSURE_REST_RAD = 0.2  # of a finger that does not curl: a claw's, which stands open at its neutral pose
_INSIDE = 0.15  # share of a range: neutral is inside if farther than this from both ends


@dataclass(frozen=True)
class Flexion:
    """How one finger closes.

    Attributes:
        sign: +1 where a joint's increase closes it, -1 where its decrease does, 0 where it does not bend it.
        sure: whether the finger's own curling says which way; otherwise where the other fingers are does.
    """

    sign: Int[np.ndarray, "j"]
    sure: bool


def find_flexions(motion: Motion) -> list[Flexion]:
    """Return how each finger closes."""
    return [_flexion(motion, f) for f in range(len(motion.fingers))]


def joint_signs(motion: Motion, flexions: list[Flexion]) -> tuple[Int[np.ndarray, "j"], list[int]]:
    """Return the closing sign of every joint, and the joints about which fingers that share them disagree."""
    votes = np.array([f.sign for f in flexions])
    total = votes.sum(0)
    disputed = (votes.max(0) > 0) & (votes.min(0) < 0)
    return np.sign(total).astype(int), np.flatnonzero(disputed).tolist()


def half_open(motion: Motion, sign: Int[np.ndarray, "j"], sure: np.ndarray) -> Float[np.ndarray, "j"]:
    """Return a pose in which the fingers are a little bent, other joints neutral.

    Args:
        motion: of the hand.
        sign: of each joint.
        sure: which joints bend a finger that visibly curls.
    """
    low, high = motion.limits.T
    rest = motion.neutral.copy()
    last = np.zeros(len(rest), dtype=bool)
    for f in range(len(motion.fingers)):
        bending = np.flatnonzero((sign != 0) & motion.own(f))
        if len(bending) > 2:
            depth = motion.depth(f)
            last[bending[np.argmax(depth[bending])]] = True
    for k in np.flatnonzero(sign):
        opened, closed = (low[k], high[k]) if sign[k] > 0 else (high[k], low[k])
        inside = min(abs(rest[k] - low[k]), abs(rest[k] - high[k])) > _INSIDE * (high[k] - low[k])
        if not sure[k] and not inside and abs(rest[k] - closed) < abs(rest[k] - opened):
            rest[k] = (opened + closed) / 2
        else:
            most = _UNSURE_REST_RAD if not sure[k] else _LAST_REST_RAD if last[k] else _REST_RAD
            if motion.hand.joint_scale[k] != 1:
                most *= float(motion.hand.joint_scale[k])
            rest[k] += sign[k] * min(most, _REST_SHARE * abs(closed - rest[k]))
    return rest


def _flexion(motion: Motion, finger: int) -> Flexion:
    neutral = motion.neutral
    effects, own, depth = motion.effects(neutral), motion.own(finger), motion.depth(finger)
    v, w = effects.velocity[finger], effects.rotation[finger]
    speed, turn = np.linalg.norm(v, axis=-1), np.linalg.norm(w, axis=-1)
    acting = own & (speed > _MIN_ARM_M * np.maximum(turn, _TURNS))
    order = sorted(np.flatnonzero(acting), key=lambda k: (-depth[k], k))
    sign = np.zeros(len(neutral), dtype=int)
    if not order:
        return Flexion(sign, sure=False)
    last = order[0]
    shifts = turn[last] < _TURNS
    lines = v if shifts else w
    unit = lines / np.maximum(np.linalg.norm(lines, axis=-1, keepdims=True), 1e-12)
    alike = unit @ unit[last]
    group = [k for k in order if abs(alike[k]) > _PARALLEL and (shifts or turn[k] >= _TURNS)]
    for k in group:
        sign[k] = int(np.sign(alike[k]))
    direction = 0 if shifts else _curl(motion, finger, sign)
    if direction == 0:
        return Flexion(_towards_others(motion, finger, sign), sure=False)
    # Joints nearer to the base bend the finger, too, if that is where they have most of their range to go.
    contiguous = True
    for k in order:
        if k not in group:
            contiguous = False
        elif not contiguous:
            low, high = motion.limits[k] - neutral[k]
            towards = high if sign[k] * direction > 0 else -low
            if towards < _MOST * (high - low):
                sign[k] = 0
    return Flexion(sign * direction, sure=True)


def _curl(motion: Motion, finger: int, sign: Int[np.ndarray, "j"]) -> int:
    """Return +1 or -1, the way of joints in which a finger gets shorter; 0 where its length does not say."""
    path = _path(motion, sign)
    length = np.linalg.norm(motion.tips(path)[:, finger] - _first_joint(motion, finger, sign), axis=-1)
    if abs(length[0] - length[-1]) < _CURLED * length.max():
        return 0
    return 1 if length[-1] < length[0] else -1


def _towards_others(motion: Motion, finger: int, sign: Int[np.ndarray, "j"]) -> Int[np.ndarray, "j"]:
    """Return the way in which each of some joints brings the tip of a finger nearer to the other tips."""
    low, high = motion.limits.T
    inside = np.minimum(motion.neutral - low, high - motion.neutral) > _INSIDE * (high - low)
    pose = np.where((sign != 0) & ~inside, (low + high) / 2, motion.neutral)
    tips, others = motion.tips(pose), [f for f in range(len(motion.fingers)) if f != finger]
    if not others:
        return np.abs(sign)
    velocity = motion.effects(pose).velocity
    apart = tips[finger] - tips[others].mean(0)
    nearer = -(velocity[finger] - velocity[others].mean(0)) @ apart
    return np.where(sign != 0, np.sign(nearer), 0).astype(int)


def _path(motion: Motion, sign: Int[np.ndarray, "j"]) -> Float[np.ndarray, "t j"]:
    """Return poses along which some joints go from one end of their ranges to the other, the rest in the middle."""
    low, high = motion.limits.T
    t = np.linspace(0, 1, _ON_PATH)[:, None]
    start, end = np.where(sign > 0, low, high), np.where(sign > 0, high, low)
    return np.where(sign == 0, motion.neutral, start + t * (end - start))


def _first_joint(motion: Motion, finger: int, sign: Int[np.ndarray, "j"]) -> Float[np.ndarray, "3"]:
    """Return where the group that the first of these joints moves has its origin."""
    depth = motion.depth(finger)
    first = min(int(depth[k]) for k in np.flatnonzero(sign))
    moved = motion.fingers[finger].moved
    return motion.placed_origin(moved[min(first, len(moved) - 1)])
