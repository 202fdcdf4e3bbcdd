"""How a distractor is put into a scene: the target of the next item, seen from the same side, next to this one."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from sceneleapultra.datasets.augmentation.base import Transform
from sceneleapultra.datasets.augmentation.sensor import keep, rays
from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.utils.batch import OTHER_CLASS, GraspBatch
from sceneleapultra.utils.core.keyed_random import KeyedRandom
from sceneleapultra.utils.geometry.rotation import so3_exp


@dataclass(frozen=True, kw_only=True)
class Clutter(Transform):
    """Put the target of the next item of the batch (the donor) next to this one's, on the same table.

    This distractor is turned about the vertical until the camera sees the side of it that its own camera saw. What is
    then behind it is hidden. A grasp whose hand, closed or open, comes within ``clearance_m`` of it is no longer valid.
    Only seen points are known of either object, so ``gap_m`` must leave room for their backs.
    """

    max_points: int
    gap_m: tuple[float, float]  # least and most between the circles about both objects
    clearance_m: float
    shadow_deg: float  # points behind the distractor are hidden within this angle of one of its points
    hand: Hand

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with a distractor in each item; in a batch of one no other item can give it."""
        if batch.size < 2:
            return batch
        points, there, rgb = self._distractor(batch, random)
        batch, inserted = _insert(batch, points, there, rgb)
        batch = self._without_shadow(batch, inserted)
        hit = self._hits(batch, points, there)
        return replace(batch, grasp_valid=None if batch.grasp_valid is None else batch.grasp_valid & ~hit)

    def _distractor(
        self, batch: GraspBatch, random: KeyedRandom
    ) -> tuple[Float[Tensor, "b m 3"], Bool[Tensor, "b m"], UInt8[Tensor, "b m 3"] | None]:
        """Return the points of each item's distractor where it will stand, which of them there are, their colors."""
        m = min(self.max_points, batch.scene_pc.shape[1])
        target = batch.object_mask & batch.point_valid
        first = torch.sort((~target).to(torch.uint8), dim=1, stable=True)[1][:, :m]
        there = target.gather(1, first)
        own = batch.scene_pc.gather(1, first[..., None].expand(-1, -1, 3))
        center = _mean(own, there)
        radius = _reach(own - center[:, None], there)
        donor, donor_there = own.roll(-1, 0), there.roll(-1, 0)
        donor_center, donor_radius = center.roll(-1, 0), radius.roll(-1, 0)
        angle = _azimuth(batch.viewpoint - center) - _azimuth(batch.viewpoint.roll(-1, 0) - donor_center)
        turned = (donor - donor_center[:, None]) @ so3_exp(batch.up * angle[:, None]).transpose(1, 2)
        where = random.uniform(2)
        gap = self.gap_m[0] + where[:, 0] * (self.gap_m[1] - self.gap_m[0])
        away = radius + donor_radius + gap
        direction = 2.0 * math.pi * where[:, 1]
        zero = torch.zeros_like(away)
        offset = torch.stack((away * direction.cos(), away * direction.sin(), zero), 1) + center
        # On the table as it stood on its own: heights are kept.
        height = torch.stack((zero, zero, (donor_center - center)[:, 2]), 1)
        placed = turned + (offset + height)[:, None]
        rgb = batch.scene_rgb
        if rgb is not None:
            rgb = rgb.gather(1, first[..., None].expand(-1, -1, 3)).roll(-1, 0)
        return placed * donor_there[..., None], donor_there, rgb

    def _without_shadow(self, batch: GraspBatch, inserted: Bool[Tensor, "b n"]) -> GraspBatch:
        """Hide what lies behind the distractor; the target keeps at least half of its points, or the item all."""
        direction, distance = rays(batch)
        cosine = direction @ direction.transpose(1, 2)
        covers = (cosine > math.cos(math.radians(self.shadow_deg))) & inserted[:, None]
        hidden = (covers & (distance[:, None] < distance[..., None])).any(-1) & ~inserted
        target = batch.object_mask & batch.point_valid
        enough = 2 * (target & ~hidden).sum(1, keepdim=True) >= target.sum(1, keepdim=True)
        return keep(batch, ~(hidden & enough))

    def _hits(
        self, batch: GraspBatch, points: Float[Tensor, "b m 3"], there: Bool[Tensor, "b m"]
    ) -> Bool[Tensor, "b g"]:
        """Return which hands touch the distractor, at the grasp or at the pre-grasp."""
        assert batch.hand_pose is not None and batch.pregrasp_qpos is not None
        b, g, _ = batch.hand_pose.shape
        closed = batch.hand_pose
        opened = torch.cat((closed[..., :3], batch.pregrasp_qpos, closed[..., -4:]), dim=-1)
        hit = torch.zeros(b, g, dtype=torch.bool, device=closed.device)
        for i in range(b):
            for pose in (closed[i], opened[i]):
                away = self.hand.signed_distance(points[i], GraspPose.from_hand_pose(pose))
                hit[i] |= away.masked_fill(~there[i], torch.inf).amin(-1) < self.clearance_m
        return hit


def _insert(
    batch: GraspBatch,
    points: Float[Tensor, "b m 3"],
    there: Bool[Tensor, "b m"],
    rgb: UInt8[Tensor, "b m 3"] | None,
) -> tuple[GraspBatch, Bool[Tensor, "b n"]]:
    """Put points in place of evenly spaced ones of the rest, so that every prefix holds its share of them."""
    free = ~(batch.object_mask & batch.point_valid)
    num_free, num_new = free.sum(1, keepdim=True), there.sum(1, keepdim=True)
    rank = free.cumsum(1) - 1
    num_new = torch.minimum(num_new, num_free // 2)
    chosen = free & (
        ((rank + 1) * num_new) // num_free.clamp_min(1) > (rank * num_new) // num_free.clamp_min(1)
    )
    which = (chosen.cumsum(1) - 1).clamp_min(0)[..., None].expand(-1, -1, 3)

    def put(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(chosen[..., None], new.gather(1, which), old)

    changed = replace(batch, scene_pc=put(points, batch.scene_pc), point_valid=batch.point_valid | chosen)
    if batch.point_class is not None:
        changed = replace(changed, point_class=batch.point_class.masked_fill(chosen, OTHER_CLASS))
    if rgb is not None and batch.scene_rgb is not None:
        changed = replace(changed, scene_rgb=put(rgb, batch.scene_rgb))
    return changed, chosen


def _mean(points: Float[Tensor, "b m 3"], there: Bool[Tensor, "b m"]) -> Float[Tensor, "b 3"]:
    return (points * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1)


def _reach(offset: Float[Tensor, "b m 3"], there: Bool[Tensor, "b m"]) -> Float[Tensor, "b"]:
    """Return the horizontal radius of a circle about all points."""
    return (offset[..., :2].norm(dim=-1) * there).amax(1)


def _azimuth(vector: Float[Tensor, "b 3"]) -> Float[Tensor, "b"]:
    return torch.atan2(vector[:, 1], vector[:, 0])
