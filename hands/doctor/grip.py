"""Where a hand could grip: a ball put at many places before it, its fingers closed kinematically, contacts compared.

A place counts if the ball can come there from outside while the hand is open, if the thumb and another finger meet it,
and by how well their pushes balance. No simulation: a look at which resting pose, and which palm, is worth one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from sceneleapultra.hands.doctor.motion import Motion
from sceneleapultra.hands.sampling import surface_set

BALLS_M = (0.03, 0.018, 0.01)  # radii that are tried in turn
_WAY_M = np.linspace(0.015, 0.15, 7)
_OPENING_RAD, _STEP_RAD, _STEPS = 0.5, 0.14, 12
_POINTS = 320
_CURL = 0.3  # rate of a finger's further joints, of that of its first
_TOUCH_M = 0.003
_MISSING = 0.3  # price of fingers that miss, all of them


@dataclass(frozen=True)
class Closing:
    """How a hand closes: the sign of each joint, its rate (rad or m per radian of closing), and the thumb."""

    sign: Int[np.ndarray, "j"]
    rates: Float[np.ndarray, "j"]
    thumb: int


def closing_of(motion: Motion, sign: Int[np.ndarray, "j"], thumb: int) -> Closing:
    """Return how a hand closes: the first closing joint of each finger leads, the others curl."""
    leads = np.zeros(len(sign), dtype=bool)
    for f in range(len(motion.fingers)):
        depth = motion.depth(f)
        bending = np.flatnonzero((sign != 0) & motion.own(f))
        if len(bending):
            leads[bending[np.argmin(depth[bending])]] = True
    rates = sign * np.where(leads, 1.0, _CURL) * motion.hand.joint_scale.numpy()
    return Closing(sign, rates, thumb)


class Grip:
    """Points on the surface of a hand, by finger."""

    def __init__(self, motion: Motion, ball_m: float) -> None:
        self.motion, self.ball_m = motion, ball_m
        surface = surface_set(motion.hand.description, _POINTS, 0)
        self._points, self._body = surface.points, surface.body
        names = np.array(motion.hand.body_names)[self._body]
        self._of_finger = []
        for chain in motion.fingers:
            touching = [b for group in (chain.groups[1:] or chain.groups) for b in group]
            self._of_finger.append(np.flatnonzero(np.isin(names, touching)))

    def quality(
        self,
        rest: Float[np.ndarray, "j"],
        closing: Closing,
        places: Float[np.ndarray, "p 3"],
        direction: Float[np.ndarray, "3"],
    ) -> Float[np.ndarray, "p"]:
        """Return how well a ball at each place is gripped from a resting pose, 0 to 1.

        Args:
            rest: the resting pose.
            closing: how the fingers close.
            places: of the ball's center, in the base frame.
            direction: out of the palm, along which the ball has come.
        """
        limits = self.motion.limits
        angle = np.arange(_STEPS)[:, None] * _STEP_RAD - _OPENING_RAD
        path = np.clip(rest + angle * closing.rates, *limits.T)
        centers = self._placed(path)  # (t s 3)
        reachable = self._reachable(centers[0], places, direction)
        found = np.zeros(len(places))
        if not reachable.any():
            return found
        found[reachable] = self._balance(centers, places[reachable], closing.thumb)
        return found

    def _placed(self, qpos: Float[np.ndarray, "t j"]) -> Float[np.ndarray, "t s 3"]:
        T = self.motion.bodies(qpos)[:, self._body]
        return np.einsum("tsik,sk->tsi", T[..., :3, :3], self._points) + T[..., :3, 3]

    def _reachable(
        self,
        points: Float[np.ndarray, "s 3"],
        places: Float[np.ndarray, "p 3"],
        direction: Float[np.ndarray, "3"],
    ) -> Bool[np.ndarray, "p"]:
        free = np.ones(len(places), dtype=bool)
        for away in (0.0, *_WAY_M):
            at = places[free] + away * direction
            free[free] = _distances(at, points).min(1) > self.ball_m
        return free

    def _balance(
        self, points: Float[np.ndarray, "t s 3"], places: Float[np.ndarray, "p 3"], thumb: int
    ) -> Float[np.ndarray, "p"]:
        each = np.arange(len(places))
        touches, pushes = [], []
        for own in self._of_finger:
            gap = np.stack([_distances(places, at[own]) for at in points]) - self.ball_m  # (t p s)
            touching = gap.min(-1) < _TOUCH_M
            first = touching.argmax(0)
            nearest = gap[first, each].argmin(-1)
            push = places - points[first, own[nearest]]
            touches.append(touching.any(0))
            pushes.append(push / np.linalg.norm(push, axis=1, keepdims=True))
        touch, push = np.array(touches), np.array(pushes)
        others = np.arange(len(touch)) != thumb
        number = touch[others].sum(0)
        fingers = (push * touch[..., None])[others].sum(0) / np.maximum(number, 1)[:, None]
        quality = 1 - np.linalg.norm(push[thumb] + fingers, axis=1) - _MISSING * (1 - number / others.sum())
        return np.where(touch[thumb] & (number > 0), quality, 0.0).clip(0)


def _distances(a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "s 3"]) -> Float[np.ndarray, "n s"]:
    a, b = a.astype(np.float32), b.astype(np.float32)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0.0))
