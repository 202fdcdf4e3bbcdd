"""What a depth camera does to points: noise along its rays, steps, flying pixels, holes, and what stands in its way."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.datasets.augmentation.base import Transform
from sceneleapultra.utils.batch import UNKNOWN_CLASS, GraspBatch
from sceneleapultra.utils.core.keyed_random import KeyedRandom

_EDGE_CANDIDATES = 8  # angular neighbors in which an edge is looked for


def rays(batch: GraspBatch) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n"]]:
    """Return the direction and range of each point, seen from the camera."""
    offset = batch.scene_pc - batch.viewpoint[:, None]
    distance = offset.norm(dim=-1)
    return offset / distance.clamp_min(1e-6)[..., None], distance


def at_range(
    batch: GraspBatch, direction: Float[Tensor, "b n 3"], distance: Float[Tensor, "b n"]
) -> GraspBatch:
    """Move every point along its ray."""
    points = batch.viewpoint[:, None] + direction * distance[..., None]
    return replace(batch, scene_pc=points * batch.point_valid[..., None])


def keep(batch: GraspBatch, kept: Bool[Tensor, "b n"]) -> GraspBatch:
    """Leave points out; the others close up in their order, so that every prefix stays a fair sample."""
    kept = kept & batch.point_valid
    order = torch.sort((~kept).to(torch.uint8), dim=1, stable=True)[1]
    valid = kept.gather(1, order)

    def moved(rows: Tensor) -> Tensor:
        return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[-1])) * valid[..., None]

    return replace(
        batch,
        scene_pc=moved(batch.scene_pc),
        point_valid=valid,
        object_mask=batch.object_mask.gather(1, order) & valid,
        scene_rgb=None if batch.scene_rgb is None else moved(batch.scene_rgb),
        point_class=None
        if batch.point_class is None
        else batch.point_class.gather(1, order).masked_fill(~valid, UNKNOWN_CLASS),
    )


def random_point(valid: Bool[Tensor, "b n"], random: KeyedRandom, count: int) -> Tensor:
    """Return indices (b, count) of random points among those that are there."""
    score = random.uniform(count, valid.shape[1]).masked_fill(~valid[:, None], -1.0)
    return score.argmax(-1)


@dataclass(frozen=True, kw_only=True)
class Jitter(Transform):
    """Add independent noise to every coordinate."""

    sigma_m: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with noise on the points that are there."""
        noise = random.normal(*batch.scene_pc.shape[1:]).mul_(self.sigma_m).mul_(batch.point_valid[..., None])
        return replace(batch, scene_pc=noise.add_(batch.scene_pc))


@dataclass(frozen=True, kw_only=True)
class DepthNoise(Transform):
    """Move points along their rays; the deviation is ``constant_m + quadratic * (range - 0.4 m)^2``.

    Source: Nguyen, Izadi, Lovell 2012, "Modeling Kinect Sensor Noise", equation 2.
    """

    constant_m: float
    quadratic: float  # 1 / m

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with noise of the range."""
        direction, distance = rays(batch)
        sigma = self.constant_m + self.quadratic * (distance - 0.4).square()
        return at_range(batch, direction, distance + sigma * random.normal(distance.shape[1]))


@dataclass(frozen=True, kw_only=True)
class Quantization(Transform):
    """Round ranges to the steps of a disparity sensor, which grow with the square of the range."""

    step_m_at_1m: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with rounded ranges."""
        direction, distance = rays(batch)
        # Steps of the inverse range are all alike: d(1/r) = dr / r^2.
        inverse = 1.0 / distance.clamp_min(1e-3)
        return at_range(
            batch, direction, 1.0 / ((inverse / self.step_m_at_1m).round() * self.step_m_at_1m).clamp_min(0.1)
        )


@dataclass(frozen=True, kw_only=True)
class EdgePixels(Transform):
    """Let some points beside a jump of the range fly between its two sides."""

    share: float
    min_jump_m: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with flying pixels."""
        direction, distance = rays(batch)
        cosine = direction @ direction.transpose(1, 2)
        cosine = cosine.masked_fill(~batch.point_valid[:, None], -2.0)
        near = cosine.topk(min(_EDGE_CANDIDATES + 1, cosine.shape[-1]), dim=-1)[1]
        beside = distance.gather(1, near.flatten(1)).view(near.shape)
        jump, which = (beside - distance[..., None]).abs().max(-1)
        other = beside.gather(2, which[..., None]).squeeze(-1)
        draw = random.uniform(2, distance.shape[1])
        flies = (jump > self.min_jump_m) & (draw[:, 0] < self.share) & batch.point_valid
        flown = distance + draw[:, 1] * (other - distance)
        return at_range(batch, direction, torch.where(flies, flown, distance))


@dataclass(frozen=True, kw_only=True)
class Holes(Transform):
    """Leave out what lies within small cones: the camera returned nothing there."""

    count: int
    radius_deg: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with holes."""
        direction, _ = rays(batch)
        center = random_point(batch.point_valid, random, self.count)
        axis = direction.gather(1, center[..., None].expand(-1, -1, 3))
        inside = (direction @ axis.transpose(1, 2)) > math.cos(math.radians(self.radius_deg))
        kept = ~inside.any(-1)
        # A hole never takes the whole target.
        gone = ~(kept & batch.object_mask).any(1, keepdim=True)
        return keep(batch, kept | (gone & batch.object_mask))


@dataclass(frozen=True, kw_only=True)
class Occlusion(Transform):
    """Put something between camera and scene: all points within a cone about a point of the target are hidden.

    The cone is narrowed where more than ``1 - min_visible`` of the target's points would be.
    """

    max_radius_deg: float
    min_visible: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch without what is hidden."""
        direction, _ = rays(batch)
        target = batch.object_mask & batch.point_valid
        center = random_point(target, random, 1)
        axis = direction.gather(1, center[..., None].expand(-1, -1, 3))
        angle = torch.acos((direction * axis).sum(-1).clamp(-1.0, 1.0))
        drawn = torch.deg2rad(random.stream("radius").between(0.0, self.max_radius_deg, 1))
        # The radius at which exactly the allowed number of target points is inside.
        ranked = angle.masked_fill(~target, torch.inf).sort(dim=1)[0]
        allowed = (target.sum(1, keepdim=True) * (1.0 - self.min_visible)).long()
        widest = ranked.gather(1, allowed.clamp_max(ranked.shape[1] - 1))
        return keep(batch, angle >= torch.minimum(drawn, widest))
