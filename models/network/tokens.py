"""What encoders take and give: one cloud, one set of tokens."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sceneleapultra.utils.batch import GraspBatch


@dataclass(frozen=True)
class Cloud:
    """A scene's points with what is known of each, in stratified farthest-point order."""

    points: Float[Tensor, "b n 3"]
    valid: Bool[Tensor, "b n"]
    target: Bool[Tensor, "b n"]  # point belongs to the object to grasp
    viewpoint: Float[Tensor, "b 3"]  # camera center
    up: Float[Tensor, "b 3"]  # unit vector against gravity
    rgb: Float[Tensor, "b n 3"] | None = None  # 0 to 1; given exactly to encoders that use color

    @classmethod
    def of(cls, batch: GraspBatch) -> "Cloud":
        """Return what an encoder reads of a batch."""
        return cls(
            points=batch.scene_pc,
            valid=batch.point_valid,
            target=batch.object_mask & batch.point_valid,
            viewpoint=batch.viewpoint,
            up=batch.up,
            rgb=None if batch.scene_rgb is None else batch.scene_rgb.to(torch.float32) / 255.0,
        )


@dataclass(frozen=True)
class SceneTokens:
    """An encoded scene: what every encoder returns.

    ``frames`` are right-handed local frames as columns (tangent, bitangent, outward normal): features that are
    expressed in them do not change when the scene is turned about the vertical.
    """

    xyz: Float[Tensor, "b s 3"]
    features: Float[Tensor, "b s c"]
    valid: Bool[Tensor, "b s"]
    target: Bool[Tensor, "b s"]
    frames: Float[Tensor, "b s 3 3"]

    @cached_property
    def _vectors(self) -> dict[float, Float[Tensor, "b m 4"]]:
        return {}

    def vectors(self, unit: float) -> Float[Tensor, "b m 4"]:
        """Return positions with -1 behind them, in this unit (m), then normals with 0, of all tokens; computed once."""
        if unit not in self._vectors:
            positions = functional.pad(self.xyz, (0, 1), value=-1.0) / unit
            normals = functional.pad(self.frames[..., 2], (0, 1))
            self._vectors[unit] = torch.cat([positions, normals], dim=1)
        return self._vectors[unit]

    @cached_property
    def target_column(self) -> Float[Tensor, "b 1 s 1"]:
        """Whether each token is the target's, as a number."""
        return self.target[:, None, :, None].to(self.xyz.dtype)
