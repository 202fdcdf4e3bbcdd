"""How far any place is from the target and from everything else of a scene: distances on a level grid, interpolated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid

TARGET, OTHERS = 0, 1  # channels


@dataclass(frozen=True)
class SceneField:
    """Signed distances at the centers of a grid's voxels (m), negative inside, in one or more hypotheses.

    Distances are cut off at ``reach_m``; outside of the grid nothing is near but the table, which has no end.
    """

    values: Float[Tensor, "k 2 x y z"]  # target, and everything beside it that stands on the table
    T_grid_cloud: Float[np.ndarray, "4 4"]
    voxel_m: float
    reach_m: float

    @classmethod
    def of(cls, grid: VoxelGrid, values: Float[Tensor, "k 2 x y z"], reach_m: float) -> "SceneField":
        """Return a field of a cloud."""
        return cls(values, np.linalg.inv(grid.T_cloud_grid), grid.voxel_m, reach_m)

    def moved_to(self, T_cloud_frame: Float[np.ndarray, "4 4"]) -> "SceneField":
        """Return the field for points of another frame."""
        return replace(self, T_grid_cloud=self.T_grid_cloud @ T_cloud_frame)

    def distance(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n 2"]:
        """Return the distance to the target and to what is beside it, the table included; the least of all hypotheses.

        Differentiable in the points.
        """
        return self.distances(points).amin(0)

    def distances(self, points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "k *b n 2"]:
        """Return the same by each hypothesis."""
        T = torch.from_numpy(self.T_grid_cloud).to(points)
        local = points @ T[:3, :3].T + T[:3, 3]
        hypotheses, _, size = self.values.shape[:3]
        half = size * self.voxel_m / 2
        scaled = torch.stack([local[..., 0], local[..., 1], local[..., 2] - half], dim=-1) / half
        # grid_sample counts axes from the last: its first coordinate runs along z.
        places = scaled.flip(-1).reshape(1, 1, 1, -1, 3).expand(hypotheses, -1, -1, -1, -1)
        found = functional.grid_sample(
            self.values.to(points), places, padding_mode="border", align_corners=False
        )
        inside = (scaled.abs() <= 1.0).all(-1)
        distance = torch.where(
            inside, found[:, :, 0, 0].reshape(hypotheses, 2, *points.shape[:-1]), self.reach_m
        )
        target, others = distance[:, TARGET], distance[:, OTHERS]
        return torch.stack([target, torch.minimum(others, local[..., 2])], dim=-1)


def field_distances(
    fields: Sequence[SceneField], points: Float[Tensor, "b g n 3"]
) -> Float[Tensor, "b g n 2"]:
    """Return the distances of points of each scene in its field."""
    return torch.stack([field.distance(part) for field, part in zip(fields, points, strict=True)])
