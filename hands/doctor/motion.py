"""How the fingers of a hand move: where their tips are, and what each joint of a pose does to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sceneleapultra.hands.doctor.chains import Chain, find_chains
from sceneleapultra.hands.hand import Hand
from sceneleapultra.hands.sampling import primitive_mesh

_STEP = 1e-5
_TIP_M = 0.003  # the points of the last group that are farthest from its joint, by so much: the tip
_STILL_M = 1e-4  # per radian: what moves less is not moved


@dataclass(frozen=True)
class Effects:
    """What each joint of a pose does to the tip of each finger, per radian or metre, in the base frame."""

    velocity: Float[np.ndarray, "f j 3"]
    rotation: Float[np.ndarray, "f j 3"]


class Motion:
    """The kinematics of a hand, in double precision, and its fingers.

    Attributes:
        fingers: chains that some joint of a pose moves.
        palm: bodies.
        neutral: all joints at zero, or at the nearest limit.
        is_wrist: joints that move the palm.
    """

    fingers: tuple[Chain, ...]

    def __init__(self, hand: Hand) -> None:
        self.hand = Hand(hand.description, dtype=torch.float64)
        self.limits = self.hand.joint_limits.numpy()
        self.neutral = np.clip(0.0, *self.limits.T)
        self.points = {
            body.name: np.concatenate(
                [np.zeros((0, 3)), *(primitive_mesh(p).vertices for p in body.primitives)]
            )
            for body in self.hand.description.bodies
        }
        self._index = {name: i for i, name in enumerate(self.hand.body_names)}
        T = self.bodies(self.neutral)
        parts = find_chains(self.hand.description, T, self.points)
        self.palm = parts.palm
        self.is_wrist = self._moved(parts.palm)
        moved = [self._moved(chain.groups[-1]) & ~self.is_wrist for chain in parts.fingers]
        self._set_fingers([c for c, own in zip(parts.fingers, moved, strict=True) if own.any()], T)
        self._set_fingers([self.fingers[f] for f in self._without_linkages()], T)

    def _set_fingers(self, chains: Sequence[Chain], T: Float[np.ndarray, "bodies 4 4"]) -> None:
        self.fingers = tuple(chains)
        self._carriers = np.array([self._index[c.groups[-1][-1]] for c in chains], dtype=int)
        self._tips = [self._tip(chain, T) for chain in chains]

    def bodies(self, qpos: Float[np.ndarray, "*b j"]) -> Float[np.ndarray, "*b bodies 4 4"]:
        """Return where all bodies are."""
        return self.hand.forward_kinematics(torch.as_tensor(qpos)).numpy()

    def tips(self, qpos: Float[np.ndarray, "*b j"]) -> Float[np.ndarray, "*b f 3"]:
        """Return where the tips of the fingers are."""
        T = self.bodies(qpos)[..., self._carriers, :, :]
        return np.einsum("...fik,fk->...fi", T[..., :3, :3], np.array(self._tips)) + T[..., :3, 3]

    def bases(self, qpos: Float[np.ndarray, "*b j"]) -> Float[np.ndarray, "*b f 3"]:
        """Return where the fingers begin: the origins of their first bodies, for those that slide that of the palm."""
        first = [chain.moved[0] for chain in self.fingers]
        start = [self._index[self.palm[0] if self._slides(body) else body] for body in first]
        return self.bodies(qpos)[..., start, :3, 3]

    def placed_origin(self, body: str) -> Float[np.ndarray, "3"]:
        """Return where the joint of a body is at the neutral pose; its origin, if it has none."""
        T = self.bodies(self.neutral)[self._index[body]]
        joint = self.hand.description.bodies[self._index[body]].joint
        return T[:3, 3] if joint is None else T[:3, :3] @ np.asarray(joint.pos) + T[:3, 3]

    def carrier(self, finger: int) -> str:
        """Return the body at the end of a finger."""
        return self.fingers[finger].groups[-1][-1]

    def placed(self, bodies: Sequence[str], qpos: Float[np.ndarray, "j"]) -> Float[np.ndarray, "n 3"]:
        """Return points on the geometry of some bodies, in the base frame."""
        T = self.bodies(qpos)
        parts = [self.points[b] @ T[self._index[b], :3, :3].T + T[self._index[b], :3, 3] for b in bodies]
        return np.concatenate([np.zeros((0, 3)), *parts])

    def effects(self, qpos: Float[np.ndarray, "j"]) -> Effects:
        """Return what each joint does to each tip, at a pose."""
        steps = _STEP * np.eye(len(qpos))
        ahead, behind = qpos + steps, qpos - steps
        velocity = (self.tips(ahead) - self.tips(behind)) / (2 * _STEP)
        R = [self.bodies(q)[..., self._carriers, :3, :3] for q in (ahead, behind)]
        turned = (R[0] @ np.swapaxes(R[1], -1, -2)) / (2 * _STEP)
        rotation = np.stack([turned[..., 2, 1], turned[..., 0, 2], turned[..., 1, 0]], axis=-1)
        return Effects(np.moveaxis(velocity, 0, 1), np.moveaxis(rotation, 0, 1))

    def depth(self, finger: int) -> Int[np.ndarray, "j"]:
        """Return the number of the first group of a finger that each joint moves; that of its end, beyond it."""
        moved = np.array([self._moved([body]) for body in self.fingers[finger].moved])
        return np.where(moved.any(0), moved.argmax(0), len(moved))

    def own(self, finger: int) -> Bool[np.ndarray, "j"]:
        """Return which joints move a finger and not the whole palm."""
        return self._moved(self.fingers[finger].groups[-1]) & ~self.is_wrist

    def _without_linkages(self) -> list[int]:
        """Return the fingers without the linkages of others: moved by the same joint in the same plane."""
        if len(self.fingers) < 2:
            return list(range(len(self.fingers)))
        own = [frozenset(np.flatnonzero(self.own(f))) for f in range(len(self.fingers))]
        velocity = self.effects(self.neutral).velocity.sum(1)
        T, points = self.bodies(self.neutral), [self.placed(c.bodies, self.neutral) for c in self.fingers]
        reach = np.linalg.norm(self.tips(self.neutral) - T[0, :3, 3], axis=-1)
        axes = []
        for chain in self.fingers:
            first = self._index[chain.moved[0]]
            joint = self.hand.description.bodies[first].joint
            assert joint is not None
            axis = T[first, :3, :3] @ np.asarray(joint.axis)
            axes.append(axis / np.linalg.norm(axis))

        def helps(f: int, g: int) -> bool:
            along, low, high = points[f] @ axes[g], (points[g] @ axes[g]).min(), (points[g] @ axes[g]).max()
            in_one_plane = low < (along.min() + along.max()) / 2 < high
            return bool(
                own[f] == own[g] and velocity[f] @ velocity[g] > 0 and in_one_plane and reach[f] < reach[g]
            )

        numbers = range(len(own))
        return [f for f in numbers if not any(helps(f, g) for g in numbers if g != f)]

    def _moved(self, group: Sequence[str]) -> Bool[np.ndarray, "j"]:
        """Return which joints move bodies, by how their origins and axes move."""
        chosen = [self._index[name] for name in group]
        steps = _STEP * np.eye(len(self.neutral))
        change = (self.bodies(self.neutral + steps) - self.bodies(self.neutral - steps))[:, chosen] / (
            2 * _STEP
        )
        return (np.abs(change) > _STILL_M).any(axis=(1, 2, 3))

    def _slides(self, body: str) -> bool:
        joint = self.hand.description.bodies[self._index[body]].joint
        return joint is not None and joint.slide

    def _tip(self, chain: Chain, T: Float[np.ndarray, "bodies 4 4"]) -> Float[np.ndarray, "3"]:
        """Return the tip of a finger in the frame of the body at its end."""
        group = chain.groups[-1]
        last = chain.moved[-1]
        origin = T[self._index[self.palm[0] if self._slides(last) else last], :3, 3]
        points = self.placed(group, self.neutral)
        away = np.linalg.norm(points - origin, axis=1)
        far = away > away.max() - _TIP_M
        end = T[self._index[group[-1]]]
        return (points[far].mean(0) - end[:3, 3]) @ end[:3, :3]
