"""What is known of points besides where they are: which are the target's, their color, how many there are."""

from dataclasses import dataclass, replace

import torch

from sceneleapultra.datasets.augmentation.base import Transform
from sceneleapultra.datasets.augmentation.sensor import keep
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.keyed_random import KeyedRandom

_LEAST_TARGET = 0.5  # share of the target that a worn mask still covers


@dataclass(frozen=True, kw_only=True)
class MaskNoise(Transform):
    """Let the target's mask shrink or grow at its border, as a segmentation does.

    An item whose mask would lose more than half of its points keeps it.
    """

    erode_m: float
    dilate_m: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with another mask."""
        width = random.between(-self.erode_m, self.dilate_m, 1)
        target = batch.object_mask & batch.point_valid
        rest = ~batch.object_mask & batch.point_valid
        away = torch.cdist(batch.scene_pc, batch.scene_pc)
        to_rest = away.masked_fill(~rest[:, None], torch.inf).amin(-1)
        to_target = away.masked_fill(~target[:, None], torch.inf).amin(-1)
        worn = (target & ~(to_rest < -width)) | (rest & (to_target < width))
        enough = worn.sum(1, keepdim=True) >= _LEAST_TARGET * target.sum(1, keepdim=True)
        return replace(batch, object_mask=torch.where(enough, worn, target))


@dataclass(frozen=True, kw_only=True)
class Color(Transform):
    """Change the exposure of the whole image and the balance of its channels."""

    exposure: float  # factor from 1 / (1 + exposure) to 1 + exposure
    balance: float  # the same, for each channel

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch in other colors."""
        assert batch.scene_rgb is not None
        draw = random.between(-1.0, 1.0, 4)
        gain = (1.0 + self.exposure) ** draw[:, :1] * (1.0 + self.balance) ** draw[:, 1:]
        rgb = (batch.scene_rgb.float() * gain[:, None]).round().clamp(0.0, 255.0)
        return replace(batch, scene_rgb=rgb.to(torch.uint8))


@dataclass(frozen=True, kw_only=True)
class Background(Transform):
    """Remove everything but the target."""

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with the target's points alone."""
        return keep(batch, batch.object_mask)


@dataclass(frozen=True, kw_only=True)
class Density(Transform):
    """Keep a random share of the points."""

    min_share: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch with fewer points; at least one of the target's stays."""
        share = random.between(self.min_share, 1.0, 1)
        draw = random.stream("points").uniform(batch.scene_pc.shape[1])
        first = draw.masked_fill(~(batch.object_mask & batch.point_valid), 2.0).argmin(1, keepdim=True)
        return keep(batch, (draw < share).scatter(1, first, True))
