"""Where the voxels of a scene are: a level cube that stands on the table, turned away from the camera."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Standpoint(NamedTuple):
    """From where a cloud was seen, and what it stands on, in the frame of the cloud."""

    viewpoint: Float[np.ndarray, "3"]  # camera center
    up: Float[np.ndarray, "3"]  # unit vector against gravity
    table_height: float  # of the table's top along ``up`` (m)


@dataclass(frozen=True)
class VoxelGrid:
    """A cube of ``size``^3 voxels. In its frame x leads away from the camera, z against gravity, the table is z = 0.

    The frame's origin lies on the table in the middle of the cube's base, below the middle of what is seen of the
    target. A scene that is turned about the vertical together with its camera has the same voxels.
    """

    T_cloud_grid: Float[np.ndarray, "4 4"]
    size: int
    voxel_m: float

    @classmethod
    def of(
        cls, target_points: Float[np.ndarray, "m 3"], standpoint: Standpoint, *, size: int, voxel_m: float
    ) -> "VoxelGrid":
        """Place a grid of ``size``^3 voxels of a length about what is seen of a target."""
        viewpoint, up, table_height = standpoint
        points = np.asarray(target_points, dtype=np.float64)
        middle = (points.min(0) + points.max(0)) / 2
        away = middle - viewpoint
        away = away - (away @ up) * up
        if np.linalg.norm(away) < 1e-6:  # seen from straight above: any direction is as good
            away = np.eye(3)[int(np.argmin(np.abs(up)))]
            away = away - (away @ up) * up
        x = away / np.linalg.norm(away)
        T = np.eye(4)
        T[:3, :3] = np.stack([x, np.cross(up, x), up], axis=1)
        T[:3, 3] = middle + (table_height - middle @ up) * up
        return cls(T, size, voxel_m)

    @property
    def centers(self) -> Float[np.ndarray, "x y z 3"]:
        """The voxels' centers in the grid's frame."""
        along = (np.arange(self.size) + 0.5) * self.voxel_m
        middle = along - self.size * self.voxel_m / 2
        return np.stack(np.meshgrid(middle, middle, along, indexing="ij"), axis=-1)

    def to_grid(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Return points of the cloud in the grid's frame."""
        moved: np.ndarray = (points - self.T_cloud_grid[:3, 3]) @ self.T_cloud_grid[:3, :3]
        return moved

    def turned(self, angle_rad: float) -> "VoxelGrid":
        """Return the grid turned about the vertical through its middle."""
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        T = self.T_cloud_grid.copy()
        T[:3, :3] = T[:3, :3] @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return VoxelGrid(T, self.size, self.voxel_m)


def voxel_length(
    target_points: Float[np.ndarray, "m 3"], voxel_m: Sequence[float], extent_m: Sequence[float]
) -> float:
    """Return the voxels' side for a target: the i-th where its largest seen extent is below ``extent_m[i]``, else the
    last.
    """
    extent = float(np.ptp(np.asarray(target_points, dtype=np.float64), axis=0).max())
    return voxel_m[int(np.searchsorted(np.asarray(extent_m), extent, side="right"))]
