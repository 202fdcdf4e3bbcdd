"""The one typed batch that datasets serve and models read.

Axes: b batch, g grasps, n points, j hand joints, p = 3 + j + 4 the data-set pose. Frame: the one of
``T_world_frame``.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


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
    hand_pose: Float[Tensor, "b g p"] | None = None  # [translation, joints, quaternion wxyz]
    pregrasp_qpos: Float[Tensor, "b g j"] | None = None
    squeeze_qpos: Float[Tensor, "b g j"] | None = None
    grasp_valid: Bool[Tensor, "b g"] | None = None
    grasp_success: Bool[Tensor, "b g"] | None = (
        None  # held, as robustly and as clear as was asked for: to be learned
    )
    grasp_robustness: Float[Tensor, "b g"] | None = None  # NaN where not measured
    draw_key: Int[Tensor, "b"] | None = (
        None  # of what augmentation leaves to chance; None: it changes nothing
    )
    grasp_stable: Float[Tensor, "b g"] | None = None  # 1 held in physics, 0 not; NaN where it was not tried
    grasp_collision_free: Float[Tensor, "b g"] | None = (
        None  # 1 clear of table and neighbors, 0 not; NaN where not measured
    )
    object_name: tuple[str, ...] = ()
    item_index: tuple[int, ...] = ()
    positive_prompt: tuple[str, ...] = ()  # what to grasp, in words; none where nothing is said
    negative_prompts: tuple[tuple[str, ...], ...] = ()  # what not to grasp, of each scene

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "GraspBatch":
        """Build a batch from a dictionary with exactly this class's field names.

        Raises:
            ValueError: a key is unknown or a required one is missing.
        """
        known = {f.name for f in fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(
                f"GraspBatch got unknown keys {sorted(unknown)}; known keys are {sorted(known)}."
            )
        required = {"scene_pc", "point_valid", "object_mask", "viewpoint", "up", "T_world_frame"}
        if missing := required - set(values):
            raise ValueError(f"GraspBatch needs {sorted(missing)}; got {sorted(values)}.")
        return cls(**values)

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
