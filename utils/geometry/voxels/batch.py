"""The batch that scene completion learns from: what one view says of each scene's voxels, and the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class VoxelBatch:
    """Grids of equal size; their voxels may differ in length."""

    observed: Float[Tensor, "b c x y z"]  # channels as ``utils/geometry/voxels/observe.py`` names them
    distance: Float[Tensor, "b 2 x y z"]  # true, to the target and to other objects (m), cut off at the reach
    voxel_m: Float[Tensor, "b"]
    item_index: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of scenes."""
        return len(self.observed)

    def scenes(self, start: int, end: int) -> "VoxelBatch":
        """Return the scenes from ``start`` until before ``end``."""
        return VoxelBatch(**{f.name: getattr(self, f.name)[start:end] for f in fields(self)})

    @classmethod
    def join(cls, batches: Sequence["VoxelBatch"]) -> "VoxelBatch":
        """Return the scenes of batches as one batch."""
        tensors = {
            name: torch.cat([getattr(b, name) for b in batches])
            for name in ("observed", "distance", "voxel_m")
        }
        return cls(**tensors, item_index=sum((b.item_index for b in batches), ()))

    def to(self, *args: Any, **kwargs: Any) -> "VoxelBatch":
        """Move every tensor, as ``Tensor.to`` does."""
        return self._map(lambda x: x.to(*args, **kwargs))

    def pin_memory(self) -> "VoxelBatch":
        """Pin every tensor; called by the DataLoader."""
        return self._map(lambda x: x.pin_memory())

    def _map(self, fn: Callable[[Tensor], Tensor]) -> "VoxelBatch":
        return VoxelBatch(fn(self.observed), fn(self.distance), fn(self.voxel_m), self.item_index)
