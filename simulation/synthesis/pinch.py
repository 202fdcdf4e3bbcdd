"""Where balls pinch an object between them: from both sides of a horizontal line through it, inside the friction cones.

A ball comes in along the line until it touches. Low objects are met at their edges, since a ball cannot go below the
table: the normal is measured where the ball touches, and decides.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.simulation.synthesis.base import Target

_STEPS = 20
_ROUGH_STEPS = 12
_FAR_M = 0.02  # beyond the object's bounding circle, where balls start
_TOUCH_M = 2e-4
_PROBE_M = 1e-4


@dataclass(frozen=True, kw_only=True)
class PinchSettings:
    """Which pinches are drawn; ``config/synthesis/fingertips.yaml`` says what each number means."""

    offset_m: float
    share_of_length: float
    table_gap_m: float
    friction: float
    max_width_m: float
    spread_m: tuple[float, float]


@dataclass(frozen=True)
class Pinches:
    """Places of fingertip balls that touch an object, the thumb's first among equals. World frame.

    Attributes:
        axis: horizontal unit vector, from the thumb towards the fingers.
        centers: of the balls, those of fingers that take no part are meaningless.
        normals: of the object where the balls touch, outward.
        margin: friction left, the least of all contacts: 1 where the line is normal to the surface, 0 on the cone.
    """

    axis: Float[Tensor, "b 3"]
    centers: Float[Tensor, "b f 3"]
    normals: Float[Tensor, "b f 3"]
    margin: Float[Tensor, "b"]

    def __getitem__(self, rows: Int[Tensor, "_"]) -> "Pinches":
        """Return some of them."""
        return Pinches(self.axis[rows], self.centers[rows], self.normals[rows], self.margin[rows])


class PinchFinder:
    """Draws pinches of one target by balls of given radii, one for each finger.

    Args:
        target: the object and what lies about it.
        radii: of the balls.
        thumb: number of the finger that opposes the others.
        settings: which are drawn.
    """

    def __init__(
        self, target: Target, radii: Float[Tensor, "f"], thumb: int, settings: PinchSettings
    ) -> None:
        self.settings, self.target, self.radii, self.thumb = settings, target, radii, thumb
        T = target.scene.T_world_object[target.index]
        vertices = target.scene.objects[target.index].vertices @ T[:3, :3].T + T[:3, 3]
        self._center = T[:3, 3]
        flat = vertices[:, :2] - self._center[:2]
        self._reach = float(np.linalg.norm(flat, axis=1).max())
        # Along the longest horizontal direction there is more than one place to grasp.
        values, vectors = np.linalg.eigh(np.cov(flat.T))
        long = vectors[:, 1]
        self._long, self._half_length = long, float(np.abs(flat @ long).max())
        self._elongation = 1.0 - float(np.sqrt(max(values[0], 0.0) / values[1]))
        self._bottom, self._top = float(vertices[:, 2].min()), float(vertices[:, 2].max())

    @torch.no_grad()
    def draw(
        self, used: Bool[Tensor, "f"], rank: Float[Tensor, "f"], tries: int, rng: np.random.Generator
    ) -> Pinches:
        """Return the pinches that some tries give.

        Args:
            used: which fingers take part, the thumb among them.
            rank: place of each finger beside the line, to the left of its direction, in fingers.
            tries: how many lines are drawn.
            rng: draws them.
        """
        s = self.settings
        middle, axis = self._lines(tries, rng)
        beside = torch.stack((-axis[:, 1], axis[:, 0], torch.zeros(tries)), dim=-1)
        gap = torch.as_tensor(rng.uniform(*s.spread_m, size=(tries, 1)), dtype=torch.float32)
        side = torch.where(torch.arange(len(used)) == self.thumb, -1.0, 1.0)
        start = middle[:, None] + beside[:, None] * (rank * (2 * self.radii + gap))[..., None]
        start = start + axis[:, None] * (side * (self._reach + self.radii + _FAR_M))[:, None]
        start[..., 2] = self._heights(tries, rng)
        towards = -side[:, None] * axis[:, None]
        centers, touching = self._approach(start, towards)
        normals = self._normals(centers)
        slope = (-(normals * towards).sum(-1)).clamp(-1, 1).arccos()
        margin = (1 - slope / float(np.arctan(s.friction)))[:, used].amin(1)
        apart = ((centers[:, self.thumb, None] - centers) * towards).sum(-1).abs()
        width = (apart - self.radii - self.radii[self.thumb])[:, used & (side > 0)].amax(1)
        good = touching[:, used].all(1) & (margin > 0) & (width < s.max_width_m)
        return Pinches(axis, centers, normals, margin)[torch.nonzero(good)[:, 0]]

    def _lines(self, b: int, rng: np.random.Generator) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
        """Draw horizontal lines near the center of mass, on long objects mostly across."""
        s = self.settings
        short = np.arctan2(self._long[0], -self._long[1])
        turn = np.where(
            rng.random(b) < self._elongation, short + 0.35 * rng.normal(size=b), rng.uniform(0, 2 * np.pi, b)
        )
        turn = turn + np.pi * rng.integers(0, 2, size=b)
        axis = np.stack([np.cos(turn), np.sin(turn), np.zeros(b)], axis=1)
        along = s.share_of_length * self._elongation * self._half_length * rng.uniform(-1, 1, size=(b, 1))
        middle = np.zeros((b, 3))
        middle[:, :2] = self._center[:2] + s.offset_m * rng.normal(size=(b, 2)) + along * self._long
        return torch.as_tensor(middle, dtype=torch.float32), torch.as_tensor(axis, dtype=torch.float32)

    def _heights(self, b: int, rng: np.random.Generator) -> Float[Tensor, "b f"]:
        """Draw at which height the balls of a pinch come in: one share of what there is, as low as the table allows."""
        share = torch.as_tensor(rng.random(size=(b, 1)), dtype=torch.float32)
        low = self._bottom + self.radii + self.settings.table_gap_m
        if not self.target.distance.table:
            low = torch.full_like(self.radii, self._bottom)
        return low + share * (self._top - low).clamp_min(0.0)

    def _approach(
        self, start: Float[Tensor, "b f 3"], towards: Float[Tensor, "b f 3"]
    ) -> tuple[Float[Tensor, "b f 3"], Bool[Tensor, "b f"]]:
        """Move balls along a direction until they touch the target: each step as far as the distance allows."""
        centers = start
        for step in range(_STEPS):
            # The fast bound never overshoots; at edges only the exact distance arrives.
            distance = (
                self.target.distance.target if step < _ROUGH_STEPS else self.target.distance.target_exact
            )
            centers = centers + towards * (distance(centers) - self.radii)[..., None]
        gap = self.target.distance.target_exact(centers) - self.radii
        passed = ((centers - start) * towards).sum(-1) > 2 * (self._reach + self.radii) + _FAR_M
        return centers, (gap.abs() < _TOUCH_M) & ~passed

    def _normals(self, centers: Float[Tensor, "b f 3"]) -> Float[Tensor, "b f 3"]:
        """Return the direction in which the distance to the target grows fastest."""
        probes = _PROBE_M * torch.cat((torch.eye(3), -torch.eye(3)))
        found = self.target.distance.target_exact(centers[..., None, :] + probes)
        gradient = found[..., :3] - found[..., 3:]
        return gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-9)
