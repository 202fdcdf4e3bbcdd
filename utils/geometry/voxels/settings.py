"""How a scene's voxels are chosen: the same numbers in training and wherever a completion is used."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.geometry.voxels.grid import Standpoint, VoxelGrid, voxel_length


@dataclass(frozen=True, kw_only=True)
class VoxelSettings:
    """Size and resolution of grids; ``config/data/completion.yaml`` says what each number means."""

    size: int
    voxel_m: tuple[float, ...]
    extent_m: tuple[float, ...]
    reach_m: float

    def __post_init__(self) -> None:
        if self.size < 8 or self.size % 8:
            raise ValueError(f"data.cloud.size: expected a multiple of 8, got {self.size}.")
        if len(self.voxel_m) != len(self.extent_m) + 1:
            raise ValueError(
                f"data.cloud.voxel_m: expected one length more than data.cloud.extent_m has bounds, got "
                f"{len(self.voxel_m)} and {len(self.extent_m)}."
            )
        if not all(v > 0.0 for v in self.voxel_m) or list(self.extent_m) != sorted(self.extent_m):
            raise ValueError(
                "data.cloud: expected positive voxel_m and rising extent_m, got "
                f"voxel_m={list(self.voxel_m)} and extent_m={list(self.extent_m)}."
            )
        if not self.reach_m >= max(self.voxel_m):
            raise ValueError(
                f"data.cloud.reach_m: expected at least a voxel, {max(self.voxel_m)} m, got {self.reach_m}."
            )

    def coarser(self, size: int) -> "VoxelSettings":
        """Return settings of as large cubes with so many voxels along each side.

        Raises:
            ValueError: not a multiple of 8, or voxels longer than the reach.
        """
        return replace(self, size=size, voxel_m=tuple(v * self.size / size for v in self.voxel_m))

    @property
    def plain(self) -> dict[str, Any]:
        """The settings as plain containers, for checkpoints."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_plain(cls, settings: Mapping[str, Any]) -> "VoxelSettings":
        """Return what :attr:`plain` gave."""
        return cls(
            size=settings["size"],
            voxel_m=tuple(settings["voxel_m"]),
            extent_m=tuple(settings["extent_m"]),
            reach_m=settings["reach_m"],
        )

    def grid(self, target_points: Float[np.ndarray, "m 3"], standpoint: Standpoint) -> VoxelGrid:
        """Return the grid about a target; see :meth:`VoxelGrid.of`."""
        length = voxel_length(target_points, self.voxel_m, self.extent_m)
        return VoxelGrid.of(target_points, standpoint, size=self.size, voxel_m=length)
