"""The one typed batch that datasets serve and models read.

Axes: b batch, g grasps, n points, j hand joints, p = 3 + j + 4 the data-set pose. Frame: the one of
``T_world_frame``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

# Values of ``point_class``.
TABLE_CLASS, TARGET_CLASS, OTHER_CLASS, UNKNOWN_CLASS = 0, 1, 2, 255


@dataclass(frozen=True)
class GraspBatch:
    """Scenes with one target object each and a set of grasps for it; every padding has its mask."""

    scene_pc: Float[Tensor, "b n 3"]  # metres; stratified farthest-point order: every prefix is a fair sample
    point_valid: Bool[Tensor, "b n"]
    object_mask: Bool[Tensor, "b n"]  # point belongs to the target
    viewpoint: Float[Tensor, "b 3"]  # camera center in the frame of the cloud
    up: Float[Tensor, "b 3"]  # unit vector against gravity in the frame of the cloud
    T_world_frame: Float[Tensor, "b 4 4"]
    scene_rgb: UInt8[Tensor, "b n 3"] | None = None
    # Table, target, another object, or unknown (padding); None where instances are not known, as when sampling.
    point_class: UInt8[Tensor, "b n"] | None = None
    hand_pose: Float[Tensor, "b g p"] | None = None  # [translation, joints, quaternion wxyz]
    pregrasp_qpos: Float[Tensor, "b g j"] | None = None
    squeeze_qpos: Float[Tensor, "b g j"] | None = None
    grasp_valid: Bool[Tensor, "b g"] | None = None
    # Held, as robustly and as far from everything else as was asked for: to be learned.
    grasp_success: Bool[Tensor, "b g"] | None = None
    grasp_robustness: Float[Tensor, "b g"] | None = None  # NaN where not measured
    draw_key: Int[Tensor, "b"] | None = None  # of augmentation's random numbers; None: it changes nothing
    grasp_stable: Float[Tensor, "b g"] | None = None  # 1 held in physics, 0 not; NaN where it was not tried
    # 1 where the hand touches neither table nor neighbors, 0 where it does; NaN where not measured.
    grasp_collision_free: Float[Tensor, "b g"] | None = None
    object_name: tuple[str, ...] = ()
    item_index: tuple[int, ...] = ()
    hand: tuple[str, ...] = ()  # name, the same for all; none where there is but one
    positive_prompt: tuple[
        str | None, ...
    ] = ()  # what to grasp, in words, or None; empty without words for any scene
    negative_prompts: tuple[tuple[str, ...], ...] = ()  # what not to grasp, of each scene

    def item(self, i: int) -> "GraspBatch":
        """Return the i-th scene as a batch of one."""
        return self.scenes(i, i + 1)

    def scenes(self, start: int, end: int) -> "GraspBatch":
        """Return the scenes from ``start`` until before ``end``."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[start:end] for k, v in columns.items() if v is not None})

    def points(self, number: int) -> "GraspBatch":
        """Return the scenes with the first points of their clouds."""
        names = ("scene_pc", "point_valid", "object_mask", "scene_rgb", "point_class")
        columns = {name: getattr(self, name) for name in names}
        return replace(self, **{k: v[:, :number] for k, v in columns.items() if v is not None})

    @classmethod
    def join(cls, batches: Sequence["GraspBatch"]) -> "GraspBatch":
        """Return the scenes of batches that hold the same columns in the same sizes as one batch."""
        columns: dict[str, Any] = {}
        for name in (f.name for f in fields(cls)):
            values = [getattr(batch, name) for batch in batches]
            if isinstance(values[0], Tensor):
                columns[name] = torch.cat(values)
            elif values[0] is not None:
                columns[name] = sum(values, ())
        return cls(**columns)

    @property
    def size(self) -> int:
        """Number of scenes in the batch."""
        return len(self.scene_pc)

    def map(self, fn: Any) -> "GraspBatch":
        """Apply ``fn`` to every tensor."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: fn(v) for k, v in tensors.items() if isinstance(v, Tensor)})

    def to(self, *args: Any, **kwargs: Any) -> "GraspBatch":
        """Move every tensor, as ``Tensor.to`` does; integer and boolean tensors keep their type."""
        device_only = torch._C._nn._parse_to(*args, **kwargs)[0]
        return self.map(
            lambda x: x.to(*args, **kwargs) if x.is_floating_point() else x.to(device_only or x.device)
        )

    def pin_memory(self) -> "GraspBatch":
        """Pin every tensor; called by the DataLoader."""
        return self.map(lambda x: x.pin_memory())
