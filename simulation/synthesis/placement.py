"""Where a hand may start: palm poses about a target as it lies, fingers open, clear of everything.

A palm aims at a surface point against the normal there, from a small distance, and backs off along its own axis
until the hand is clear. All candidates are handled at once, on the hand's spheres.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hands import Hand
from hands.energies import contact_weights, force_closure
from simulation.collision import Balls
from simulation.synthesis.base import Target, prepare
from utils.records import Scene
from utils.sdf import sample_surface

# Backing off is repeated this often; the spheres nearest at first are the only ones looked at in between.
_STEPS = 6
_NEAREST = 48


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
    curl: tuple[float, float]
    rate_sigma: float
    clearance_m: float
    oversampling: int
    closing_steps: int
    closing_step_rad: float
    touch_m: float
    torque_length_m: float
    max_promise: float


class Placements(NamedTuple):
    """Hands at their start, best first."""

    T_world_base: Float[Tensor, "n 4 4"]
    qpos: Float[Tensor, "n j"]
    rates: Float[Tensor, "n j"]  # of closing, relative to the fastest joints
    promise: Float[Tensor, "n"]


def initial_palm_poses(
    hand: Hand, scene: Scene, target: int, n: int, rng: np.random.Generator, settings: PlacementSettings
) -> Float[np.ndarray, "n 4 4"]:
    """Return poses of the hand base at which closing may start; fewer than ``n`` where the target is hard to reach."""
    placer = Placer(prepare(hand, scene, target), settings)
    return placer.draw(n, rng).T_world_base.numpy().astype(np.float64)


class Placer:
    """Draws start poses for one target of one scene."""

    def __init__(self, target: Target, settings: PlacementSettings) -> None:
        self.settings = settings
        self.hand, self.distance, self.balls = target.hand, target.distance, target.balls
        hand = self.hand
        self._record = target.scene.objects[target.index]
        self._T = target.scene.T_world_object[target.index]
        self._finger_names = list(hand.finger_names)
        finger_of_body = np.full(len(hand.body_names), -1)
        for f, name in enumerate(self._finger_names):
            for body in hand.finger_bodies[name][1:]:
                finger_of_body[hand.body_names.index(body)] = f
        of_ball = finger_of_body[hand.collision_spheres.bodies.numpy()]
        self._finger_balls = torch.as_tensor(np.flatnonzero(of_ball >= 0))
        self._finger_of_ball = torch.as_tensor(of_ball[of_ball >= 0])
        self._finger_radii = hand.collision_spheres.radii[self._finger_balls]
        self._sigma, self._leads = self._joint_sigma(), self._leading_joints()

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator) -> Placements:
        """Return up to ``n`` start poses, those with most fingers opposing the thumb across the target first."""
        m = n * self.settings.oversampling
        T = self._aim(m, rng)
        m = len(T)
        qpos, rates = self._preshape(m, rng), self._rates(m, rng)
        base = self.balls.base(qpos)
        direction = -(T[:, :3, :3] @ self.hand.palm_direction)
        T, moved = self._above_table(T, base, direction)
        kept = moved <= self.settings.max_standoff_m
        T, qpos, rates, base, direction, moved = (x[kept] for x in (T, qpos, rates, base, direction, moved))
        T, moved = self._clear_of_target(T, base, direction, moved)
        centres = base @ T[:, :3, :3].mT + T[:, None, :3, 3]
        kept = moved <= self.settings.max_standoff_m
        if len(centres):
            kept = kept & (
                self.distance.clearance(Balls(centres, self.balls.radii)) >= self.settings.clearance_m
            )
        T, qpos, rates = T[kept], qpos[kept], rates[kept]
        if not len(T):
            return Placements(T, qpos, rates, torch.zeros(0))
        promise, others = self._promise(T, qpos, rates)
        order = torch.argsort(promise, stable=True)[
            : min(n, int((promise <= self.settings.max_promise).sum()))
        ]
        return Placements(T[order], qpos[order], rates[order], promise[order])

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

    def _rates(self, m: int, rng: np.random.Generator) -> Float[Tensor, "m j"]:
        """Draw how fast each joint closes: the base of each finger leads, the rest curl by one common share."""
        s, sign = self.settings, self.hand.flexion_sign.numpy()
        curl = rng.uniform(*s.curl, size=(m, 1))
        rates = np.where(self._leads, 1.0, curl) * np.exp(s.rate_sigma * rng.normal(size=(m, len(sign))))
        return torch.as_tensor(rates * sign, dtype=torch.float32)

    def _leading_joints(self) -> Bool[np.ndarray, "j"]:
        """Return which joints are the first of their finger that close it."""
        hand = self.hand
        joint_of_body = {b.name: b.joint.name for b in hand.description.bodies if b.joint is not None}
        sign = dict(zip(hand.joint_names, hand.flexion_sign.tolist(), strict=True))
        leads = []
        for bodies in hand.finger_bodies.values():
            closing = [joint_of_body[b] for b in bodies if b in joint_of_body and sign[joint_of_body[b]] != 0]
            leads += closing[:1]
        return np.isin(hand.joint_names, leads)

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

    def _promise(
        self, T: Float[Tensor, "m 4 4"], qpos: Float[Tensor, "m j"], rates: Float[Tensor, "m j"]
    ) -> tuple[Float[Tensor, "m"], Float[Tensor, "m"]]:
        """Close the fingers until each touches, and return how unbalanced the contacts are, 0 at best.

        Infinite where the thumb or all other fingers never touch, or only where the table is in the way.
        """
        s, hand = self.settings, self.hand
        steps = torch.arange(s.closing_steps) * s.closing_step_rad
        closing = qpos[:, None] + steps[:, None] * rates[:, None]
        closing = closing.clamp(hand.joint_limits[:, 0], hand.joint_limits[:, 1])
        rotation, translation = T[:, None, :3, :3], T[:, None, None, :3, 3]
        centres = self.balls.base(closing)[..., self._finger_balls, :] @ rotation.mT + translation
        gap, normal = self.distance.target_with_normal(centres)
        gap = gap - self._finger_radii
        depth = torch.full((len(T), len(self._finger_names)), torch.inf)
        points = torch.zeros(len(T), len(self._finger_names), 3)
        normals = torch.zeros_like(points)
        for f in range(len(self._finger_names)):
            own = self._finger_of_ball == f
            least, ball = gap[..., own].min(-1)  # (m steps)
            touches = least < s.touch_m
            if self.distance.table:
                low = (centres[..., own, 2] - self._finger_radii[own]).amin(-1) < s.clearance_m
                touches &= low.cumsum(1) == 0
            first = touches.float().argmax(1)
            at = torch.arange(len(T)), first
            ball = ball[at]
            points[:, f] = centres[..., own, :][at][torch.arange(len(T)), ball]
            normals[:, f] = normal[..., own, :][at][torch.arange(len(T)), ball]
            depth[:, f] = torch.where(touches.any(1), 0.0, torch.inf)
        touching = depth == 0
        thumb = self._finger_names.index(hand.thumb)
        weights = contact_weights(torch.arange(len(self._finger_names)), thumb, touching)
        wrench = force_closure(
            points,
            normals,
            weights,
            origin=torch.as_tensor(self._T[:3, 3], dtype=torch.float32),
            torque_length_m=s.torque_length_m,
        )
        others = touching.sum(1) - touching[:, thumb].long()
        return torch.where(touching[:, thumb] & (others > 0), wrench, torch.inf), others


def _back_off(
    T: Float[Tensor, "m 4 4"], direction: Float[Tensor, "m 3"], by: Float[Tensor, "m"]
) -> Float[Tensor, "m 4 4"]:
    T = T.clone()
    T[:, :3, 3] += direction * by.nan_to_num(posinf=0.0)[:, None]
    return T
