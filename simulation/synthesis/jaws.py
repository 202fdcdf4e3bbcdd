"""A gripper whose fingers move together: it is placed so that they meet the object at once.

One joint closes all its fingers, so the object must lie in the middle between them: the finger that met it first would
have to push it over to the others. The middle is where they touch: jaws that swing are elsewhere while they are open.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import Hand
from sceneleapultra.hands.body_points import BodyPoints
from sceneleapultra.simulation.synthesis.grid import DistanceGrid

_ROUNDS = 3


class Jaws:
    """The collision spheres on both sides of a gripper, the line on which they close, and how far they do."""

    def __init__(self, hand: Hand, steps: int, step_rad: float) -> None:
        self._hand, self._closed_rad = hand, torch.arange(steps) * step_rad
        spheres = hand.collision_spheres
        names = np.array(hand.body_names)[spheres.bodies.numpy()]
        of_thumb = np.isin(names, hand.beyond_base(hand.thumb))
        others = [b for f in hand.finger_names if f != hand.thumb for b in hand.beyond_base(f)]
        self._sides = [
            BodyPoints(
                spheres.centers.numpy()[own],
                spheres.bodies.numpy()[own],
                num_bodies=len(hand.body_names),
                vectors=False,
                dtype=torch.float32,
            )
            for own in (of_thumb, np.isin(names, others))
        ]
        self._radii = [spheres.radii[torch.from_numpy(own)] for own in (of_thumb, np.isin(names, others))]
        T = hand.forward_kinematics(hand.rest_qpos)
        thumb, other = (side(T).mean(0) for side in self._sides)
        line = thumb - other - ((thumb - other) @ hand.palm_direction) * hand.palm_direction
        self._to_thumb: Float[Tensor, "3"] = line / line.norm()

    @staticmethod
    def of_one_joint(hand: Hand) -> bool:
        """Tell whether one joint closes all fingers of a hand."""
        return int((hand.flexion_sign != 0).sum()) == 1

    def __call__(
        self,
        T: Float[Tensor, "m 4 4"],
        qpos: Float[Tensor, "m j"],
        rates: Float[Tensor, "m j"],
        near: DistanceGrid,
    ) -> Float[Tensor, "m 4 4"]:
        """Shift hands along the line between their fingers until both sides meet the object at once.

        Args:
            T: where the hands are, in the world.
            qpos: how open they are.
            rates: how their joints close.
            near: distance to the object.
        """
        T, sides = T.clone(), self._closing(T, qpos, rates)
        line = T[:, :3, :3] @ self._to_thumb
        for _ in range(_ROUNDS):
            thumb, other = self._gaps(T, sides, near)
            T[:, :3, 3] += 0.5 * (other - thumb)[:, None] * line
        return T

    def late(
        self,
        T: Float[Tensor, "m 4 4"],
        qpos: Float[Tensor, "m j"],
        rates: Float[Tensor, "m j"],
        near: DistanceGrid,
    ) -> Float[Tensor, "m"]:
        """Return how far (m) one side still is from the object when the other meets it."""
        return self._gaps(T, self._closing(T, qpos, rates), near).amax(0)

    def _closing(
        self, T: Float[Tensor, "m 4 4"], qpos: Float[Tensor, "m j"], rates: Float[Tensor, "m j"]
    ) -> list[Float[Tensor, "m t s 3"]]:
        """Return where the spheres of both sides are while they close, relative to where the hands are."""
        path = qpos[:, None] + self._closed_rad[:, None] * rates[:, None]
        low, high = self._hand.joint_limits.unbind(-1)
        bodies = self._hand.forward_kinematics(path.clamp(low, high))
        return [side(bodies) @ T[:, None, :3, :3].mT for side in self._sides]

    def _gaps(
        self, T: Float[Tensor, "m 4 4"], sides: list[Float[Tensor, "m t s 3"]], near: DistanceGrid
    ) -> Float[Tensor, "2 m"]:
        """Return how far both sides are from the object when one of them meets it; at the end where none does."""
        gaps = torch.stack(
            [
                (near(centers + T[:, None, None, :3, 3]) - radii).amin(-1)
                for centers, radii in zip(sides, self._radii, strict=True)
            ]
        )
        least = gaps.amin(0)
        last = torch.where((least < 0).any(1), (least < 0).int().argmax(1), least.shape[1] - 1)
        before, each = (last - 1).clamp_min(0), torch.arange(len(T))
        far, close = least[each, before], least[each, last]
        share = torch.where(close < 0, far / (far - close).clamp_min(1e-9), 1.0).clamp(0, 1)
        return gaps[:, each, before] + share * (gaps[:, each, last] - gaps[:, each, before])
