"""The true signed distances of a scene on a grid, from its objects' convex pieces: what physics touches."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import map_coordinates

from sceneleapultra.utils.geometry.sdf import ConvexSdf
from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid
from sceneleapultra.utils.records import ObjectRecord, Scene

_KEPT_OBJECTS = 4096  # of whom distances are remembered: some 150 KB each


class _Lattice(NamedTuple):
    """Distances to one object at points of a lattice in its frame, and where the lattice begins."""

    low: Float[np.ndarray, "3"]
    values: Float[np.ndarray, "x y z"]


class TrueDistances:
    """Computes true fields; the distances to an object are computed once, on a lattice in its own frame.

    Args:
        reach_m: where distances are cut off.
        step_m: of the lattice; distances in between are interpolated.
    """

    def __init__(self, *, reach_m: float, step_m: float) -> None:
        self.reach_m, self.step_m = reach_m, step_m
        self._known: OrderedDict[tuple[str, int], _Lattice] = OrderedDict()

    def field(self, scene: Scene, target: int, grid: VoxelGrid) -> Float[np.ndarray, "2 x y z"]:
        """Return the distances to the target and to the nearest other object at a grid's voxels, the table left out.

        Args:
            scene: in the frame of the cloud that the grid is about.
            target: number of the target.
            grid: where.
        """
        R, t = grid.T_cloud_grid[:3, :3], grid.T_cloud_grid[:3, 3]
        places = grid.centers @ R.T + t
        found = np.full((2, *places.shape[:3]), self.reach_m, dtype=np.float32)
        for i, (record, T) in enumerate(zip(scene.objects, scene.T_world_object, strict=True)):
            channel = found[0 if i == target else 1]
            np.minimum(channel, self._distance(record, (places - T[:3, 3]) @ T[:3, :3]), out=channel)
        return found

    def _distance(
        self, record: ObjectRecord, points: Float[np.ndarray, "x y z 3"]
    ) -> Float[np.ndarray, "x y z"]:
        known = self._lattice(record)
        places = (points - known.low) / self.step_m
        distance = np.full(points.shape[:3], self.reach_m, dtype=np.float32)
        inside = ((places >= 0.0) & (places <= np.array(known.values.shape) - 1.0)).all(-1)
        distance[inside] = map_coordinates(
            known.values.astype(np.float32), places[inside].T, order=1, mode="nearest"
        )
        return distance

    def _lattice(self, record: ObjectRecord) -> _Lattice:
        key = (record.name, record.vertices.tobytes().__hash__())
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        margin = self.reach_m + self.step_m
        low, high = record.vertices.min(0) - margin, record.vertices.max(0) + margin
        axes = [np.arange(a, b + self.step_m, self.step_m) for a, b in zip(low, high, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        values = _cut_off_distance(ConvexSdf(record.pieces), points.reshape(-1, 3), self.reach_m)
        self._known[key] = _Lattice(low, values.reshape(points.shape[:3]).astype(np.float16))
        if len(self._known) > _KEPT_OBJECTS:
            self._known.popitem(last=False)
        return self._known[key]


def _cut_off_distance(
    sdf: ConvexSdf, points: Float[np.ndarray, "n 3"], reach_m: float
) -> Float[np.ndarray, "n"]:
    """Return exact distances up to a reach; the fast lower bound says which points are beyond it."""
    bound = sdf.distance(torch.from_numpy(points.astype(np.float32)))
    near = (bound > 0.0) & (bound < reach_m)
    exact = bound.clamp(-reach_m, reach_m)
    if near.any():
        exact[near] = sdf.exact_distance(torch.from_numpy(points[near.numpy()].astype(np.float32))).clamp(
            max=reach_m
        )
    distances: np.ndarray = exact.numpy()
    return distances
