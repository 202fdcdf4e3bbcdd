"""A depth image that is exactly known: boxes on a table that ends, a floor beyond it, seen by a tilted camera."""

from dataclasses import dataclass

import numpy as np

Box = tuple[tuple[float, float], tuple[float, float, float], float]  # middle on the table, sizes, yaw (rad)
ONE: tuple[Box, ...] = (((0.0, 0.0), (0.08, 0.06, 0.10), 0.4),)
TWO: tuple[Box, ...] = (*ONE, ((0.16, 0.05), (0.05, 0.05, 0.05), 0.0))


@dataclass(frozen=True)
class CameraView:
    """Depth in metres, NaN where nothing is; which box each pixel shows (0 first, -1 none); the true up."""

    depth: np.ndarray
    box: np.ndarray
    K: np.ndarray
    up: np.ndarray
    height_m: float  # of the camera above the table

    @property
    def points(self) -> np.ndarray:
        """The organized cloud in the camera's frame."""
        v, u = np.indices(self.depth.shape)
        x, y = (u - self.K[0, 2]) / self.K[0, 0], (v - self.K[1, 2]) / self.K[1, 1]
        return np.stack([x * self.depth, y * self.depth, self.depth], axis=-1)

    def pixel(self, box: int) -> tuple[int, int]:
        """Column and row near the middle of what a box shows."""
        rows, columns = np.nonzero(self.box == box)
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        return int(columns[nearest]), int(rows[nearest])


def camera_view(
    boxes: tuple[Box, ...] = ONE, *, tilt_deg: float = 40.0, distance_m: float = 0.6, noise_m: float = 0.001
) -> CameraView:
    """Cast the rays of 160 x 120 pixels."""
    K = np.array([[150.0, 0.0, 79.5], [0.0, 150.0, 59.5], [0.0, 0.0, 1.0]])
    tilt = np.deg2rad(tilt_deg)
    # World: x to the camera's right, y away from it, z up; the camera looks down by the tilt.
    R = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, -np.sin(tilt), np.cos(tilt)],
            [0.0, -np.cos(tilt), -np.sin(tilt)],
        ]
    )
    eye = -distance_m * R[:, 2] + np.array([0.0, 0.0, 0.03])
    v, u = np.indices((120, 160))
    local = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
    rays = local @ R.T
    depth, box = np.full(u.shape, np.inf), np.full(u.shape, -1)
    for height, half in ((0.0, 0.4), (-0.72, 3.0)):
        t = (height - eye[2]) / np.where(rays[..., 2] < -1e-9, rays[..., 2], np.nan)
        hit = eye + t[..., None] * rays
        on_it = (np.abs(hit[..., :2]).max(-1) < half) & (t < depth)
        depth = np.where(on_it, t, depth)
    for number, (middle, size, yaw) in enumerate(boxes):
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        low, high = np.array([-size[0] / 2, -size[1] / 2, 0.0]), np.array([size[0] / 2, size[1] / 2, size[2]])
        start, way = (eye - [*middle, 0.0]) @ turn, rays @ turn
        near, far = np.sort(np.stack([(low - start) / way, (high - start) / way]), axis=0)
        enter, leave = near.max(-1), far.min(-1)
        hit = (enter < leave) & (enter < depth)
        depth, box = np.where(hit, enter, depth), np.where(hit, number, box)
    noise = noise_m * np.random.default_rng(0).standard_normal(depth.shape)
    return CameraView(np.where(np.isfinite(depth), depth + noise, np.nan), box, K, R[2], float(eye[2]))
