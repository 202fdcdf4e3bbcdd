"""Where a hand may start: palm poses about a target as it lies, fingers open, clear of everything.

A palm aims at a surface point against the normal there, from a small distance, and backs off along its own axis
until the hand is clear. Many are drawn at once, on the hand's spheres; those with the best forecast are kept.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import Hand
from sceneleapultra.simulation.collision import Balls
from sceneleapultra.simulation.synthesis.base import Target, prepare
from sceneleapultra.simulation.synthesis.forecast import Forecast, ForecastSettings
from sceneleapultra.simulation.synthesis.grid import DistanceGrid
from sceneleapultra.simulation.synthesis.jaws import Jaws
from sceneleapultra.simulation.synthesis.preshape import Preshape, PreshapeSettings
from sceneleapultra.utils.geometry.sdf import sample_surface
from sceneleapultra.utils.records import Scene

# Backing off is repeated this often; the spheres nearest at first are the only ones looked at in between.
_STEPS = 6
_NEAREST = 48
# Surface points drawn per pose aimed: those a hand cannot look at are passed over.
_SPARE_POINTS = 4
_LATE_M = 0.001  # a finger of a gripper that is so far when the other touches does not come to touch

# m hands in the world, the centers of their s spheres in the base frame, and how far each is moved which way (m).
Poses = Float[Tensor, "m 4 4"]
Centers = Float[Tensor, "m s 3"]
Directions = Float[Tensor, "m 3"]
Lengths = Float[Tensor, "m"]


@dataclass(frozen=True, kw_only=True)
class PlacementSettings:
    """How start poses are drawn; ``config/synthesis`` says what each number means."""

    tilt_rad: float
    standoff_m: float
    max_standoff_m: float
    max_upward: float
    max_surface_downward: float
    clearance_m: float
    oversampling: int
    max_forecast: float
    preshape: PreshapeSettings
    forecast: ForecastSettings


class Placements(NamedTuple):
    """Hands at their start, best forecast first."""

    T_world_base: Float[Tensor, "n 4 4"]
    qpos: Float[Tensor, "n j"]
    rates: Float[Tensor, "n j"]  # of closing, relative to the fastest joints
    forecast: Float[Tensor, "n"]


def initial_palm_poses(
    hand: Hand, scene: Scene, target: int, n: int, rng: np.random.Generator, settings: PlacementSettings
) -> Float[np.ndarray, "n 4 4"]:
    """Return ``n`` poses of the hand base from which a target may be closed on.

    Poses with a good forecast come first; where the target is hard to reach, poses that only aim at it fill up.
    """
    placer = Placer(prepare(hand, scene, target), settings)
    placed, aimed = placer.draw(n, rng).T_world_base, placer.aim(n, rng)
    return torch.cat((placed, aimed))[:n].numpy().astype(np.float64)


class Placer:
    """Draws start poses for one target of one scene."""

    def __init__(self, target: Target, settings: PlacementSettings) -> None:
        self.settings = settings
        self.hand, self.distance, self.balls = target.hand, target.distance, target.balls
        self._record = target.scene.objects[target.index]
        self._T = target.scene.T_world_object[target.index]
        vertices = self._record.vertices @ self._T[:3, :3].T + self._T[:3, 3]
        low, high = (torch.as_tensor(x, dtype=torch.float32) for x in (vertices.min(0), vertices.max(0)))
        self.near = DistanceGrid(self.distance.target, low, high)
        self._preshape = Preshape(target.hand, settings.preshape)
        self._forecast = Forecast(target, self.near, settings.forecast)
        self._jaws = None
        if Jaws.of_one_joint(target.hand):
            self._jaws = Jaws(target.hand, settings.forecast.steps, settings.forecast.step_rad)

    @torch.no_grad()
    def draw(self, n: int, rng: np.random.Generator) -> Placements:
        """Return up to ``n`` start poses: of many drawn, those that are clear and have the best forecast."""
        s = self.settings
        T = self.aim(n * s.oversampling, rng)
        qpos, rates = self._preshape.qpos(len(T), rng), self._preshape.rates(len(T), rng)
        base = self.balls.base(qpos)
        back = -(T[:, :3, :3] @ self.hand.palm_direction)
        T, moved = self._above_table(T, base, back)
        kept = moved <= s.max_standoff_m
        T, qpos, rates, base, back, moved = (x[kept] for x in (T, qpos, rates, base, back, moved))
        T, moved = self._off_target(T, base, back, moved)
        if self._jaws is not None:
            T = self._jaws(T, qpos, rates, self.near)
            T, moved = self._off_target(T, base, back, moved)
            moved[self._jaws.late(T, qpos, rates, self.near) > _LATE_M] = torch.inf
        kept = moved <= s.max_standoff_m
        T, qpos, rates, base = (x[kept] for x in (T, qpos, rates, base))

        forecast = self._forecast(T, qpos, rates)
        order = torch.argsort(forecast, stable=True)
        order = order[forecast[order] <= s.max_forecast]
        T, qpos, rates, base, forecast = (x[order] for x in (T, qpos, rates, base, forecast))
        balls = Balls(base @ T[:, :3, :3].mT + T[:, None, :3, 3], self.balls.radii)
        kept = torch.nonzero(self.distance.clearance(balls) >= s.clearance_m)[:n, 0]
        return Placements(T[kept], qpos[kept], rates[kept], forecast[kept])

    def aim(self, m: int, rng: np.random.Generator) -> Poses:
        """Draw base poses whose palm center is at the standoff from a surface point and looks at it."""
        s, hand, drawn = self.settings, self.hand, _SPARE_POINTS * m
        points, normals = sample_surface(self._record, drawn, rng)
        points, normals = points @ self._T[:3, :3].T + self._T[:3, 3], normals @ self._T[:3, :3].T
        towards = _unit(-normals + s.tilt_rad * rng.normal(size=normals.shape))
        along = _unit(np.cross(towards, rng.normal(size=towards.shape)))
        standoff = rng.exponential(s.standoff_m, size=drawn)
        # Points a hand can look at come first; on a table none is looked at from below.
        hidden = (towards[:, 2] > s.max_upward) | (normals[:, 2] < -s.max_surface_downward)
        chosen = np.argsort(hidden & self.distance.table, kind="stable")[:m]
        points, towards, along, standoff = (x[chosen] for x in (points, towards, along, standoff))
        palm, finger = hand.palm_direction.numpy(), hand.finger_direction.numpy()
        frame_base = np.stack([finger, np.cross(palm, finger), palm], axis=1)
        frame_world = np.stack([along, np.cross(towards, along), towards], axis=2)
        T = np.tile(np.eye(4), (m, 1, 1))
        T[:, :3, :3] = frame_world @ frame_base.T
        T[:, :3, 3] = points - standoff[:, None] * towards - T[:, :3, :3] @ hand.palm_center.numpy()
        return torch.as_tensor(T, dtype=torch.float32)

    def _above_table(self, T: Poses, base: Centers, back: Directions) -> tuple[Poses, Lengths]:
        """Back hands off until they are clear of the table; infinitely far where that leads down."""
        if not self.distance.table:
            return T, torch.zeros(len(T))
        heights = (base @ T[:, 2, :3, None]).squeeze(-1) + T[:, 2, 3, None] - self.balls.radii
        missing = (self.settings.clearance_m + 1e-4 - heights.amin(-1)).clamp_min(0)
        moved = torch.where(back[:, 2] > 1e-3, missing / back[:, 2].clamp_min(1e-3), torch.inf)
        moved = torch.where(missing > 0, moved, 0.0)
        return _shifted(T, back, moved), moved

    def _off_target(self, T: Poses, base: Centers, back: Directions, moved: Lengths) -> tuple[Poses, Lengths]:
        """Back hands off until their spheres are clear of the target; infinitely far where they never were."""
        num = self.balls.num_spheres
        centers, radii = base[:, :num] @ T[:, :3, :3].mT, self.balls.radii[:num].expand(len(T), -1)
        gap = self.near(centers + T[:, None, :3, 3]) - radii
        nearest = gap.topk(min(_NEAREST, num), largest=False)
        near = centers.gather(1, nearest.indices[..., None].expand(-1, -1, 3))
        near_radii, least = radii.gather(1, nearest.indices), nearest.values.amin(-1)
        for _ in range(_STEPS):
            step = 1.05 * (self.settings.clearance_m - least).clamp_min(0)
            T, moved = _shifted(T, back, step), moved + step
            least = (self.near(near + T[:, None, :3, 3]) - near_radii).amin(-1)
        least = (self.near(centers + T[:, None, :3, 3]) - radii).amin(-1)
        return T, torch.where(least >= 0, moved, torch.inf)


def _unit(vectors: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _shifted(T: Poses, direction: Directions, by: Lengths) -> Poses:
    T = T.clone()
    T[:, :3, 3] += direction * by.nan_to_num(posinf=0.0)[:, None]
    return T
