"""What a depth camera saw: poses about a scene, measured depth, and the cloud in blocks by instance."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sceneleapultra.simulation.depth_noise import DepthNoise
from sceneleapultra.simulation.objects import object_color
from sceneleapultra.simulation.raycast import NOTHING, RayCaster, pixel_rays
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy
from sceneleapultra.utils.records import Scene, View

_TABLE_COLOR = np.array([148, 145, 140], dtype=np.uint8)
_LIGHT = np.array([0.30, 0.20, 0.93], dtype=np.float32)  # direction to the light, world frame


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """A camera, where it stands and what is kept of its images; ``config/camera`` explains each number."""

    width: int
    height: int
    fov_deg: float
    elevation_deg: tuple[float, float]
    distance_m: tuple[float, float]
    look_at_jitter_m: float
    roll_jitter_deg: float
    object_points: int
    table_points: int
    table_margin_m: float
    oversampling: int
    noise: DepthNoise

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """Return the matrix of intrinsics; pixel centers have whole coordinates."""
        focal = 0.5 * self.width / np.tan(0.5 * np.deg2rad(self.fov_deg))
        return np.array(
            [[focal, 0.0, 0.5 * (self.width - 1)], [0.0, focal, 0.5 * (self.height - 1)], [0.0, 0.0, 1.0]]
        )


def render_views(
    scene: Scene, n: int, rng: np.random.Generator, settings: CameraSettings
) -> tuple[View, ...]:
    """Look at a scene from ``n`` drawn poses; the surfaces are compiled once."""
    caster = RayCaster(scene)
    poses = camera_poses(scene.T_world_object[:, :3, 3].mean(0), n, rng, settings)
    return tuple(take_view(scene, caster, T_world_cam, rng, settings) for T_world_cam in poses)


def camera_poses(
    center: Float[np.ndarray, "3"], n: int, rng: np.random.Generator, settings: CameraSettings
) -> Float[np.ndarray, "n 4 4"]:
    """Draw poses on a spherical cap about ``center``, looking at it up to the jitter; returns ``T_world_cam``."""
    azimuth = rng.uniform(0.0, 2 * np.pi, n)
    # Uniform in the sine of the elevation is uniform on the sphere.
    lowest, highest = np.sin(np.deg2rad(settings.elevation_deg))
    sine = rng.uniform(lowest, highest, n)
    distance = rng.uniform(*settings.distance_m, n)
    cosine = np.sqrt(1.0 - sine**2)
    outward = np.stack([cosine * np.cos(azimuth), cosine * np.sin(azimuth), sine], 1)
    position = center + distance[:, None] * outward
    target = center + rng.normal(0.0, settings.look_at_jitter_m, (n, 3))
    return look_at(position, target, rng.normal(0.0, np.deg2rad(settings.roll_jitter_deg), n))


def look_at(
    position: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], roll_rad: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 4 4"]:
    """Return ``T_world_cam`` of cameras that look at ``target``, level but for the roll about the optical axis."""
    forward = target - position
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll_rad)[:, None], np.sin(roll_rad)[:, None]
    T = np.tile(np.eye(4), (len(position), 1, 1))
    T[:, :3, 0] = cos * right + sin * down
    T[:, :3, 1] = cos * down - sin * right
    T[:, :3, 2] = forward
    T[:, :3, 3] = position
    return T


def take_view(
    scene: Scene,
    caster: RayCaster,
    T_world_cam: Float[np.ndarray, "4 4"],
    rng: np.random.Generator,
    settings: CameraSettings,
) -> View:
    """Render, measure and back-project one view.

    The cloud is one block per instance, in order, each in farthest-point order; an instance that is not seen has
    an empty block.
    """
    K, T = settings.K, T_world_cam.astype(np.float32)
    depth, instance = caster.render(T_world_cam, K, settings.width, settings.height)
    normals, cosine, step_m = surface_of_depth(depth, K)

    pixels = np.flatnonzero(instance.ravel() != NOTHING)
    rays = pixel_rays(K, settings.width, settings.height).astype(np.float32)[pixels] @ T[:3, :3].T
    measured, kept = settings.noise.apply(
        depth.ravel()[pixels], cosine.ravel()[pixels], step_m.ravel()[pixels], rng
    )
    points = T[:3, 3] + measured[:, None] * rays
    instances = instance.ravel()[pixels]
    kept &= (instances != 0) | _near_objects(points, scene, settings.table_margin_m)

    chosen = []
    for i in range(len(scene.objects) + 1):
        block = np.flatnonzero(kept & (instances == i))
        most = settings.object_points if i else settings.table_points
        chosen.append(block[_spread_subset(points[block], most, settings.oversampling, rng)])
    index = np.concatenate(chosen)
    normals_world = normals.reshape(-1, 3)[pixels[index]] @ T[:3, :3].T
    return View(
        T_world_cam=T_world_cam,
        K=K,
        points=points[index],
        rgb=_colors(scene, instances[index], normals_world, points[index], rng),
        instance=instances[index].astype(np.uint8),
    )


def surface_of_depth(
    depth: Float[np.ndarray, "h w"], K: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Return normals (camera frame), their cosine with the ray, and the depth step to a neighbor.

    From z(u, v): the normal towards the camera is along (f z_u, f z_v, -z - (u - c_u) z_u - (v - c_v) z_v), and
    its product with the point is -z^2. A step is how much the slope changes in one pixel: a plane has none.
    """
    z = np.minimum(depth, np.float32(1e3))  # nothing is far behind everything, and finite
    slopes, step_m = [], np.zeros_like(z)
    for axis in (1, 0):
        difference = np.diff(z, axis=axis)
        back = np.concatenate([np.take(difference, [0], axis), difference], axis)
        ahead = np.concatenate([difference, np.take(difference, [-1], axis)], axis)
        # The smaller one-sided difference does not reach across an edge of the surface.
        slopes.append(np.where(np.abs(back) < np.abs(ahead), back, ahead))
        step_m = np.maximum(step_m, np.abs(ahead - back))
    (z_u, z_v), f = slopes, K[[0, 1], [0, 1]].astype(np.float32)
    u = (np.arange(z.shape[1]) - K[0, 2]).astype(np.float32)
    v = (np.arange(z.shape[0]) - K[1, 2]).astype(np.float32)[:, None]
    normals = np.stack([f[0] * z_u, f[1] * z_v, -z - u * z_u - v * z_v], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    ray_length = np.sqrt((u / f[0]) ** 2 + (v / f[1]) ** 2 + 1.0)
    cosine = -(normals[..., 0] * u / f[0] + normals[..., 1] * v / f[1] + normals[..., 2]) / ray_length
    return normals, cosine, step_m


def _near_objects(points: Float[np.ndarray, "n 3"], scene: Scene, margin_m: float) -> Bool[np.ndarray, "n"]:
    """Return the points above or within ``margin_m`` of the bounding circle of an object, in the table's plane."""
    near = np.zeros(len(points), dtype=bool)
    x, y = points[:, 0], points[:, 1]
    for record, T in zip(scene.objects, scene.T_world_object, strict=True):
        reach = np.linalg.norm(record.vertices @ T[:2, :3].T, axis=1).max() + margin_m
        near |= (x - np.float32(T[0, 3])) ** 2 + (y - np.float32(T[1, 3])) ** 2 <= np.float32(reach**2)
    return near


def _spread_subset(
    points: Float[np.ndarray, "n 3"], most: int, oversampling: int, rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Return at most ``most`` indices in farthest-point order, chosen in a random subset that starts at random."""
    if len(points) == 0:
        return np.empty(0, dtype=np.int64)
    subset = rng.permutation(len(points))[: most * oversampling]
    return subset[farthest_point_order_numpy(points[subset], min(most, len(subset)))]


def _colors(
    scene: Scene,
    instances: Int[np.ndarray, "n"],
    normals_world: Float[np.ndarray, "n 3"],
    points: Float[np.ndarray, "n 3"],
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "n 3"]:
    """Return lightly shaded colors; the table has faint waves and grain."""
    palette = np.stack([_TABLE_COLOR, *(object_color(o.name) for o in scene.objects)]).astype(np.float32)
    light = 0.65 + 0.35 * np.maximum(normals_world @ _LIGHT, 0.0)
    waves = 0.03 * np.sin(60.0 * points[:, 0] + 4.0 * np.sin(25.0 * points[:, 1]))
    light = light + np.where(instances == 0, waves, 0.0) + rng.normal(0.0, 0.01, len(points))
    return np.round(np.clip(palette[instances] * light[:, None], 0.0, 255.0)).astype(np.uint8)
