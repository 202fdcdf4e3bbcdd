"""What one view says of every voxel: seen, passed by a ray, or hidden, and by what.

The ray of a voxel is taken to end where the measured point ends that is nearest to it in the image; where that point is
of the table, it ends in the table's plane. Nothing but the cloud, its viewpoint and the target's mask is read, so a
stored view and a user's cloud are looked at alike.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid

TABLE_M = 0.005  # what is lower than this and not of the target is the table
_GAP_M = 0.02  # a voxel whose nearest measured point is further than this from its ray is not known
_DEPTH_M, _HEIGHT_M, RESOLUTION_M = 0.03, 0.1, 0.01  # units of the last three channels
Vector = Float[np.ndarray, "3"]

CHANNELS = (
    "target_seen",  # 1 where a point of the target lies
    "other_seen",  # 1 where a point of another object lies
    "free",  # 1 where a ray passed
    "hidden_by_target",  # 1 behind the target
    "hidden_by_other",  # 1 behind another object
    "behind",  # how far behind the measured surface, along the optical axis, in shares of 3 cm, -1 to 1
    "height",  # above the table, in shares of 10 cm
    "resolution",  # the voxel's side, in cm
)
FREE, BEHIND, RESOLUTION = (CHANNELS.index(name) for name in ("free", "behind", "resolution"))


def observe(
    grid: VoxelGrid, points: Float[np.ndarray, "n 3"], is_target: Bool[np.ndarray, "n"], viewpoint: Vector
) -> Float[np.ndarray, "c x y z"]:
    """Return the channels of a grid, whose table is that of the cloud.

    Args:
        grid: where.
        points: of the cloud (m).
        is_target: which of them belong to the target.
        viewpoint: camera center in the frame of the cloud.
    """
    local, camera = grid.to_grid(points.astype(np.float64)), grid.to_grid(viewpoint)
    is_table = (local[:, 2] < TABLE_M) & ~is_target
    found = np.zeros((len(CHANNELS), *(grid.size,) * 3), dtype=np.float32)
    _mark(found[0], grid, local[is_target])
    _mark(found[1], grid, local[~is_target & ~is_table])
    centers = grid.centers.reshape(-1, 3)
    behind, nearest = _behind(centers, camera, local, is_table)
    known = np.isfinite(behind)
    half = grid.voxel_m / 2
    hidden = known & (behind > half) & ~is_table[nearest]
    shape = found.shape[1:]
    found[FREE] = (known & (behind < -half)).reshape(shape)
    found[3] = (hidden & is_target[nearest]).reshape(shape)
    found[4] = (hidden & ~is_target[nearest]).reshape(shape)
    found[BEHIND] = np.where(known, np.clip(behind / _DEPTH_M, -1.0, 1.0), 0.0).reshape(shape)
    found[6] = (centers[:, 2] / _HEIGHT_M).reshape(shape)
    found[RESOLUTION] = grid.voxel_m / RESOLUTION_M
    return found


def _mark(channel: Float[np.ndarray, "x y z"], grid: VoxelGrid, points: Float[np.ndarray, "n 3"]) -> None:
    low = np.array([-0.5, -0.5, 0.0]) * grid.size * grid.voxel_m
    cell = np.floor((points - low) / grid.voxel_m).astype(np.int64)
    inside = cell[((cell >= 0) & (cell < grid.size)).all(-1)]
    channel[tuple(inside.T)] = 1.0


def _behind(
    centers: Float[np.ndarray, "v 3"],
    camera: Float[np.ndarray, "3"],
    points: Float[np.ndarray, "n 3"],
    is_table: Bool[np.ndarray, "n"],
) -> tuple[Float[np.ndarray, "v"], np.ndarray]:
    """Return how far each voxel is behind what its ray measured (m, infinite where it measured nothing), and by which
    point.
    """
    axis = -camera / np.linalg.norm(camera)  # towards the grid's origin
    side = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(axis, side), axis])
    visible, wanted = (points - camera) @ frame.T, (centers - camera) @ frame.T
    image = cKDTree(visible[:, :2] / visible[:, 2:])
    apart, nearest = image.query(wanted[:, :2] / wanted[:, 2:])
    depth = visible[nearest, 2]
    # In the table's plane a ray from the camera's height has gone 1 / (its share of the way down to the voxel).
    with np.errstate(divide="ignore"):
        down = camera[2] / (camera[2] - centers[:, 2])
    to_table = np.where(down > 0.0, down, np.inf) * wanted[:, 2]
    depth = np.where(is_table[nearest], to_table, depth)
    known = (apart * wanted[:, 2] <= _GAP_M) & (wanted[:, 2] > 0.0)
    return np.where(known, wanted[:, 2] - np.where(np.isfinite(depth), depth, np.inf), np.inf), nearest
