"""A gripper whose fingers move together: it is placed so that they meet the object at once.

One joint closes all its fingers, so the object must lie in the middle between them: the finger that met it first would
have to push it over to the others.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import Hand
from sceneleapultra.simulation.synthesis.grid import DistanceGrid

_STEPS = 3


class Jaws:
    """The collision spheres on both sides of a gripper, and the line on which they close."""

    def __init__(self, hand: Hand) -> None:
        spheres = hand.collision_spheres
        names = np.array(hand.body_names)[spheres.bodies.numpy()]
        of_thumb = np.isin(names, hand.beyond_base(hand.thumb))
        others = [b for f in hand.finger_names if f != hand.thumb for b in hand.beyond_base(f)]
        self._sides = [torch.from_numpy(np.flatnonzero(own)) for own in (of_thumb, np.isin(names, others))]
        self._radii = spheres.radii
        T = hand.forward_kinematics(hand.rest_qpos)[spheres.bodies]
        placed = (T[:, :3, :3] @ spheres.centers[..., None]).squeeze(-1) + T[:, :3, 3]
        line = placed[self._sides[0]].mean(0) - placed[self._sides[1]].mean(0)
        line = line - (line @ hand.palm_direction) * hand.palm_direction
        self._to_thumb: Float[Tensor, "3"] = line / line.norm()

    @staticmethod
    def of_one_joint(hand: Hand) -> bool:
        """Tell whether one joint closes all fingers of a hand."""
        return int((hand.flexion_sign != 0).sum()) == 1

    def __call__(
        self, T: Float[Tensor, "m 4 4"], base: Float[Tensor, "m s 3"], near: DistanceGrid
    ) -> Float[Tensor, "m 4 4"]:
        """Shift hands along the line between their fingers until both sides are equally far from the object.

        Args:
            T: where the hands are, in the world.
            base: centers of their spheres, in the base frame.
            near: distance to the object.
        """
        T = T.clone()
        line = T[:, :3, :3] @ self._to_thumb
        for _ in range(_STEPS):
            gaps = []
            for side in self._sides:
                centers = base[:, side] @ T[:, :3, :3].mT + T[:, None, :3, 3]
                gaps.append((near(centers) - self._radii[side]).amin(-1))
            T[:, :3, 3] += 0.5 * (gaps[1] - gaps[0])[:, None] * line
        return T
