"""Where a hand may start: palm poses about a target as it lies, fingers open, clear of everything.

A palm aims at a surface point against the normal there, from a small distance, and backs off along its own axis
until the hand is clear. All candidates are handled at once, on the hand's spheres.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hands import GraspPose, Hand
from simulation.collision import Balls, HandBalls, SceneDistance
from utils.records import Scene
from utils.sdf import sample_surface

# Backing off is repeated this often; the spheres nearest at first are the only ones looked at in between.
_STEPS = 6
_NEAREST = 48
# Points looked at between the thumb's tip and each other fingertip.
_BETWEEN = 7


@dataclass(frozen=True, kw_only=True)
class PlacementSettings:
    """How start poses are drawn; ``config/synthesis`` says what each number means."""

    tilt_rad: float
    standoff_m: float
    max_standoff_m: float
    max_upward: float
    max_surface_downward: float
    opening_rad: tuple[float, float]
    flexion_sigma_rad: float
    spread_sigma_rad: float
    thumb_sigma_rad: float
    clearance_m: float
    oversampling: int


class Placements(NamedTuple):
    """Hands at their start, best first."""

    T_world_base: Float[Tensor, "n 4 4"]
    qpos: Float[Tensor, "n j"]


def initial_palm_poses(
    hand: Hand, scene: Scene, target: int, n: int, rng: np.random.Generator, settings: PlacementSettings
) -> Float[np.ndarray, "n 4 4"]:
    """Return poses of the hand base at which closing may start; fewer than ``n`` where the target is hard to reach."""
    placer = Placer(hand, SceneDistance(scene, target), scene, target, settings)
    return placer.draw(n, rng).T_world_base.numpy().astype(np.float64)


class Placer:
    """Draws start poses for one target of one scene."""

    def __init__(
        self, hand: Hand, distance: SceneDistance, scene: Scene, target: int, settings: PlacementSettings
    ) -> None:
        self.hand, self.settings, self.distance = hand, settings, distance
        self.balls = HandBalls(hand)
        self._record, self._T = scene.objects[target], scene.T_world_object[target]
        thumb = hand.finger_names.index(hand.thumb)
        self._fingers = [thumb, *(i for i in range(len(hand.finger_names)) if i != thumb)]
        self._sigma = self._joint_sigma()

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator) -> Placements:
        """Return up to ``n`` start poses, those with most fingers opposing the thumb across the target first."""
        m = n * self.settings.oversampling
        T, qpos = self._aim(m, rng), self._preshape(m, rng)
        base = self.balls.base(qpos)
        direction = -(T[:, :3, :3] @ self.hand.palm_direction)
        T, moved = self._above_table(T, base, direction)
        kept = moved <= self.settings.max_standoff_m
        T, qpos, base, direction, moved = (x[kept] for x in (T, qpos, base, direction, moved))
        T, moved = self._clear_of_target(T, base, direction, moved)
        centres = base @ T[:, :3, :3].mT + T[:, None, :3, 3]
        kept = moved <= self.settings.max_standoff_m
        if len(centres):
            kept = kept & (self.distance.clearance(Balls(centres, self.balls.radii)) >= self.settings.clearance_m)
        T, qpos = T[kept], qpos[kept]
        order = torch.argsort(-self._opposition(T, qpos), stable=True)[:n]
        return Placements(T[order], qpos[order])

    def _aim(self, m: int, rng: np.random.Generator) -> Float[Tensor, "m 4 4"]:
        """Draw base poses whose palm centre is at the standoff from a surface point and looks at it."""
        s, hand = self.settings, self.hand
        points, normals = sample_surface(self._record, 4 * m, rng)
        points, normals = points @ self._T[:3, :3].T + self._T[:3, 3], normals @ self._T[:3, :3].T
        towards = -normals + s.tilt_rad * rng.normal(size=normals.shape)
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        along = np.cross(towards, rng.normal(size=towards.shape))
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        standoff = rng.exponential(s.standoff_m, size=4 * m)
        if self.distance.table:
            reachable = (towards[:, 2] <= s.max_upward) & (normals[:, 2] >= -s.max_surface_downward)
        else:
            reachable = np.ones(4 * m, dtype=bool)
        chosen = np.flatnonzero(reachable)[:m]
        palm, finger = hand.palm_direction.numpy(), hand.finger_direction.numpy()
        frame_base = np.stack([finger, np.cross(palm, finger), palm], axis=1)
        towards, along = towards[chosen], along[chosen]
        frame_world = np.stack([along, np.cross(towards, along), towards], axis=2)
        T = np.tile(np.eye(4), (len(chosen), 1, 1))
        T[:, :3, :3] = frame_world @ frame_base.T
        centre = points[chosen] - standoff[chosen, None] * towards
        T[:, :3, 3] = centre - T[:, :3, :3] @ hand.palm_center.numpy()
        return torch.as_tensor(T, dtype=torch.float32)

    def _preshape(self, m: int, rng: np.random.Generator) -> Float[Tensor, "m j"]:
        """Draw joint angles: the resting hand, opened by one common angle, plus noise of each joint."""
        sign, limits = self.hand.flexion_sign.numpy(), self.hand.joint_limits.numpy()
        opening = rng.uniform(*self.settings.opening_rad, size=(m, 1))
        qpos = self.hand.rest_qpos.numpy() - opening * sign + self._sigma * rng.normal(size=(m, len(sign)))
        return torch.as_tensor(qpos.clip(limits[:, 0], limits[:, 1]), dtype=torch.float32)

    def _joint_sigma(self) -> Float[np.ndarray, "j"]:
        s, hand = self.settings, self.hand
        joint_of = {b.joint.name: b.name for b in hand.description.bodies if b.joint is not None}
        thumb = set(hand.finger_bodies[hand.thumb])
        of_thumb = np.array([joint_of[name] in thumb for name in hand.joint_names])
        spreads = hand.flexion_sign.numpy() == 0
        sigma = np.where(spreads, s.spread_sigma_rad, s.flexion_sigma_rad)
        return np.where(spreads & of_thumb, s.thumb_sigma_rad, sigma)

    def _above_table(
        self, T: Float[Tensor, "m 4 4"], base: Float[Tensor, "m s 3"], direction: Float[Tensor, "m 3"]
    ) -> tuple[Float[Tensor, "m 4 4"], Float[Tensor, "m"]]:
        """Back hands off until they are clear of the table; infinitely far where that leads down."""
        if not self.distance.table:
            return T, torch.zeros(len(T))
        heights = (base @ T[:, 2, :3, None]).squeeze(-1) + T[:, 2, 3, None] - self.balls.radii
        missing = (self.settings.clearance_m + 1e-4 - heights.amin(-1)).clamp_min(0)
        moved = torch.where(direction[:, 2] > 1e-3, missing / direction[:, 2].clamp_min(1e-3), torch.inf)
        moved = torch.where(missing > 0, moved, 0.0)
        return _back_off(T, direction, moved), moved

    def _clear_of_target(
        self,
        T: Float[Tensor, "m 4 4"],
        base: Float[Tensor, "m s 3"],
        direction: Float[Tensor, "m 3"],
        moved: Float[Tensor, "m"],
    ) -> tuple[Float[Tensor, "m 4 4"], Float[Tensor, "m"]]:
        """Back hands off until their spheres are clear of the target; infinitely far where they never were."""
        if not len(T):
            return T, moved
        rotated = base[:, : self.balls.num_spheres] @ T[:, :3, :3].mT
        radii = self.balls.radii[: self.balls.num_spheres].expand(len(T), -1)
        margin = self.settings.clearance_m
        gap = self.distance.target(rotated + T[:, None, :3, 3]) - radii
        nearest = gap.topk(min(_NEAREST, gap.shape[1]), largest=False)
        least = nearest.values.amin(-1)
        near = rotated.gather(1, nearest.indices[..., None].expand(-1, -1, 3))
        near_radii = radii.gather(1, nearest.indices)
        for _ in range(_STEPS):
            step = (margin - least).clamp_min(0) * 1.05
            moved = moved + step
            T = _back_off(T, direction, step)
            least = (self.distance.target(near + T[:, None, :3, 3]) - near_radii).amin(-1)
        least = (self.distance.target(rotated + T[:, None, :3, 3]) - radii).amin(-1)
        return T, torch.where(least >= 0, moved, torch.inf)

    def _opposition(self, T: Float[Tensor, "m 4 4"], qpos: Float[Tensor, "m j"]) -> Float[Tensor, "m"]:
        """Count the fingers between which and the thumb the target lies."""
        points, _ = self.hand.contact_candidates(GraspPose.from_matrix(T, qpos))
        finger = self.hand.contact_finger
        tips = torch.stack([points[:, finger == f].mean(1) for f in self._fingers], dim=1)
        share = torch.linspace(0, 1, _BETWEEN + 2)[1:-1, None]
        between = tips[:, :1, None] * (1 - share) + tips[:, 1:, None] * share  # (m fingers samples 3)
        inside = (self.distance.target(between.flatten(1, 2)) < 0).unflatten(1, between.shape[1:3])
        return inside.any(-1).float().sum(-1)


def _back_off(
    T: Float[Tensor, "m 4 4"], direction: Float[Tensor, "m 3"], by: Float[Tensor, "m"]
) -> Float[Tensor, "m 4 4"]:
    T = T.clone()
    T[:, :3, 3] += direction * by.nan_to_num(posinf=0.0)[:, None]
    return T
