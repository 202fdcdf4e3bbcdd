"""How open a hand starts and how its fingers close: drawn around the hand's resting pose."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import Hand


@dataclass(frozen=True, kw_only=True)
class PreshapeSettings:
    """How fingers are drawn; ``config/synthesis`` says what each number means."""

    opening_rad: tuple[float, float]
    flexion_sigma_rad: float
    spread_sigma_rad: float
    thumb_sigma_rad: float
    curl: tuple[float, float]
    rate_sigma: float


class Preshape:
    """Draws joint angles of open hands, and the relative rates at which their joints will close."""

    def __init__(self, hand: Hand, settings: PreshapeSettings) -> None:
        self.settings = settings
        self._rest, self._limits = hand.rest_qpos.numpy(), hand.joint_limits.numpy()
        self._closing = hand.closing.numpy()
        self._leads = leading_joints(hand)
        thumb = set(hand.finger_bodies[hand.thumb])
        bodies = hand.description.bodies
        of_thumb = {body.joint.name for body in bodies if body.joint is not None and body.name in thumb}
        spread = np.where(
            np.isin(hand.joint_names, sorted(of_thumb)), settings.thumb_sigma_rad, settings.spread_sigma_rad
        )
        sigma = np.where(self._closing == 0, spread, settings.flexion_sigma_rad)
        self._sigma = sigma * hand.joint_scale.numpy()

    def qpos(self, m: int, rng: np.random.Generator) -> Float[Tensor, "m j"]:
        """Draw joint angles: the resting hand, opened by one common angle, plus noise of each joint."""
        opening = rng.uniform(*self.settings.opening_rad, size=(m, 1))
        qpos = self._rest - opening * self._closing + self._sigma * rng.normal(size=(m, len(self._closing)))
        return torch.as_tensor(qpos.clip(self._limits[:, 0], self._limits[:, 1]), dtype=torch.float32)

    def rates(self, m: int, rng: np.random.Generator) -> Float[Tensor, "m j"]:
        """Draw how fast each joint closes: the base of each finger leads, the rest curl by one common share."""
        curl = rng.uniform(*self.settings.curl, size=(m, 1))
        noise = np.exp(self.settings.rate_sigma * rng.normal(size=(m, len(self._closing))))
        return torch.as_tensor(np.where(self._leads, 1.0, curl) * noise * self._closing, dtype=torch.float32)


def leading_joints(hand: Hand) -> Bool[np.ndarray, "j"]:
    """Return which joints are the first of their finger that close it; and those of no finger, as a gripper's."""
    sign = dict(zip(hand.joint_names, hand.flexion_sign.tolist(), strict=True))
    joint_of = {
        b.name: b.joint.name
        for b in hand.description.bodies
        if b.joint is not None and b.joint.coupling is None
    }
    claimed = {body for bodies in hand.finger_bodies.values() for body in bodies}
    leads = [name for body, name in joint_of.items() if body not in claimed and sign[name] != 0]
    for bodies in hand.finger_bodies.values():
        closing = [joint_of[body] for body in bodies if body in joint_of and sign[joint_of[body]] != 0]
        leads += closing[:1]
    return np.isin(hand.joint_names, leads)
