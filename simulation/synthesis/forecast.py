"""What closing will probably come to: fingers closed kinematically until each touches, and their contacts' balance.

Costs a thousandth of a simulation, so that only hands whose fingers will oppose each other are simulated.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands.body_points import BodyPoints
from sceneleapultra.hands.energies import contact_weights, force_closure
from sceneleapultra.simulation.synthesis.base import Target
from sceneleapultra.simulation.synthesis.grid import DistanceGrid


@dataclass(frozen=True, kw_only=True)
class ForecastSettings:
    """How closing is forecast; ``config/synthesis`` says what each number means."""

    steps: int
    step_rad: float
    touch_m: float
    table_clearance_m: float
    torque_length_m: float
    missing_finger: float


class Forecast:
    """Forecasts closings on one target, by the spheres of the fingers (their first links left out)."""

    def __init__(self, target: Target, near: DistanceGrid, settings: ForecastSettings) -> None:
        self.settings, self.hand, self.distance = settings, target.hand, target.distance
        self._near = near
        T_world_object = target.scene.T_world_object[target.index]
        self._center = torch.as_tensor(T_world_object[:3, 3], dtype=torch.float32)
        hand, spheres = target.hand, target.hand.collision_spheres
        self._num_fingers = len(hand.finger_names)
        self._thumb = hand.finger_names.index(hand.thumb)
        finger_of_body = np.full(len(hand.body_names), -1)
        for f, name in enumerate(hand.finger_names):
            for body in hand.beyond_base(name):
                finger_of_body[hand.body_names.index(body)] = f
        finger = finger_of_body[spheres.bodies.numpy()]
        # Sorted by finger, so that each finger's spheres are a slice.
        chosen = np.argsort(finger, kind="stable")[np.sum(finger < 0) :]
        ends = np.cumsum(np.bincount(finger[chosen], minlength=self._num_fingers))
        self._of_finger = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        self._radii = spheres.radii[chosen]
        self._points = BodyPoints(
            spheres.centers.numpy()[chosen],
            spheres.bodies.numpy()[chosen],
            num_bodies=len(hand.body_names),
            vectors=False,
            dtype=torch.float32,
        )

    def __call__(
        self, T: Float[Tensor, "m 4 4"], qpos: Float[Tensor, "m j"], rates: Float[Tensor, "m j"]
    ) -> Float[Tensor, "m"]:
        """Return how far the contacts are from holding the object: their net wrench, plus a price of missing fingers.

        Infinite where the thumb, or every other finger, does not touch before it meets the table.
        """
        s, hand, m = self.settings, self.hand, len(T)
        angle = torch.arange(s.steps) * s.step_rad
        closing = qpos[:, None] + angle[:, None] * rates[:, None]
        closing = closing.clamp(hand.joint_limits[:, 0], hand.joint_limits[:, 1])
        centers = self._points(hand.forward_kinematics(closing)) @ T[:, None, :3, :3].mT
        centers = centers + T[:, None, None, :3, 3]  # (m steps spheres 3)
        gap = self._near(centers) - self._radii
        touching, points = [], []
        each = torch.arange(m)
        for own in self._of_finger:
            least, sphere = gap[..., own].min(-1)
            touches = least < s.touch_m
            if self.distance.table:
                low = (centers[..., own, 2] - self._radii[own]).amin(-1) < s.table_clearance_m
                touches &= low.cumsum(1) == 0
            first = touches.float().argmax(1)
            touching.append(touches.any(1))
            points.append(centers[each, first, own][each, sphere[each, first]])
        touches, contacts = torch.stack(touching, 1), torch.stack(points, 1)
        _, normals = self.distance.target_with_normal(contacts)
        wrench = force_closure(
            contacts,
            normals,
            contact_weights(torch.arange(self._num_fingers), self._thumb, touches),
            origin=self._center,
            torque_length_m=s.torque_length_m,
        )
        missing = (~touches).sum(1)
        possible = touches[:, self._thumb] & (missing < self._num_fingers - 1)
        return torch.where(possible, wrench + s.missing_finger * missing, torch.inf)
