"""What a depth camera over a cluttered table writes, simulated: whole millimetres, with the truth beside them.

The table ends, the floor is seen beyond it, and pixels without depth are 0, as a RealSense writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float, UInt16

from sceneleapultra.simulation.camera import look_at, surface_of_depth
from sceneleapultra.simulation.depth_noise import DepthNoise
from sceneleapultra.simulation.objects import FAMILIES, load_objects, make_object
from sceneleapultra.simulation.raycast import NOTHING, RayCaster, pixel_rays
from sceneleapultra.simulation.scene import drop_scene
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import ObjectRecord, Scene

DEPTH_SCALE = 0.001
_TABLE_HALF_M, _FLOOR_M = 0.5, -0.72  # half the side of the square table; the floor below its top
_OBJECTS = 4
_TILT_DEG, _DISTANCE_M = (20.0, 70.0), (0.5, 0.7)
_LEAST_PIXELS = 400  # of the target
_REAL_EXTENT_M = (0.04, 0.18)


@dataclass(frozen=True)
class SimulatedView:
    """One image of one scene; the target is its first object."""

    scene: Scene
    depth: UInt16[np.ndarray, "h w"]  # mm; 0 where there is none
    mask: Bool[np.ndarray, "h w"]  # the target, as a perfect segmentation marks it
    K: Float[np.ndarray, "3 3"]
    T_world_cam: Float[np.ndarray, "4 4"]
    tilt_deg: float
    real: bool

    @property
    def up(self) -> Float[np.ndarray, "3"]:
        """The true direction against gravity, in the camera's frame."""
        return self.T_world_cam[2, :3]

    @property
    def pixel(self) -> tuple[int, int]:
        """Column and row of the target's pixel nearest to the middle of its pixels."""
        rows, columns = np.nonzero(self.mask & (self.depth > 0))
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        return int(columns[nearest]), int(rows[nearest])


def real_targets(folder: Path, seed: int) -> list[Path]:
    """List the meshes below a folder that a hand may grasp by their size, in a drawn order."""
    meshes = sorted(folder.rglob("*.obj"))
    extents = [float(np.max(trimesh.load(mesh, force="mesh").extents)) for mesh in meshes]
    fitting = [m for m, x in zip(meshes, extents, strict=True) if _REAL_EXTENT_M[0] < x < _REAL_EXTENT_M[1]]
    return [fitting[i] for i in np.random.default_rng([seed, 9]).permutation(len(fitting))]


def simulated_view(
    index: int, reals: Sequence[Path], seed: int, *, width: int = 424, height: int = 240
) -> SimulatedView:
    """Return the view of a scene of four objects; every third has a real target where there are any.

    Raises:
        ValueError: the target is never seen well.
    """
    real = reals[index // 3 % len(reals)] if reals and index % 3 == 2 else None
    target = load_objects(real)[0] if real is not None else None
    for attempt in range(100):
        rng = np.random.default_rng([seed, index, attempt])
        names = rng.choice(FAMILIES, _OBJECTS)
        objects = [make_object(str(name), int(rng.integers(10_000, 1_000_000))) for name in names]
        objects = [target, *objects[1:]] if target is not None else objects
        scene = drop_scene(tuple(objects), rng, build(load_group("scene", "default")))
        view = _render(scene, rng, width, height, real is not None)
        if _is_first(scene, objects[0]) and view.mask.sum() >= _LEAST_PIXELS * (width / 640) ** 2:
            return view
    raise ValueError(f"Scene {index}: the target was never seen well in 100 attempts.")


def _is_first(scene: Scene, target: ObjectRecord) -> bool:
    return scene.objects[0].name == target.name


def _render(scene: Scene, rng: np.random.Generator, width: int, height: int, real: bool) -> SimulatedView:
    tilt, azimuth = rng.uniform(*_TILT_DEG), rng.uniform(0.0, 2.0 * np.pi)
    out = np.array([np.cos(azimuth), np.sin(azimuth)]) * np.cos(np.deg2rad(tilt))
    center = scene.T_world_object[:, :3, 3].mean(0)
    eye = center + rng.uniform(*_DISTANCE_M) * np.array([*out, np.sin(np.deg2rad(tilt))])
    (T,) = look_at(eye[None], center[None], rng.normal(0.0, np.deg2rad(5.0), 1))
    depth, mask, K = depth_image(scene, 0, T, rng, width, height)
    return SimulatedView(scene, depth, mask, K, T, float(np.rad2deg(np.arcsin(-T[2, 2]))), real)


def depth_image(
    scene: Scene,
    target: int,
    T_world_cam: Float[np.ndarray, "4 4"],
    rng: np.random.Generator,
    width: int,
    height: int,
) -> tuple[UInt16[np.ndarray, "h w"], Bool[np.ndarray, "h w"], Float[np.ndarray, "3 3"]]:
    """Return what the camera writes (mm), the pixels of the target, and the camera matrix."""
    focal = 615.0 * width / 640.0
    K = np.array([[focal, 0.0, 0.5 * (width - 1)], [0.0, focal, 0.5 * (height - 1)], [0.0, 0.0, 1.0]])
    depth, instance = RayCaster(scene).render(T_world_cam, K, width, height)
    depth, instance = _end_of_table(depth.copy(), instance.copy(), T_world_cam, K)
    noise: DepthNoise = replace(build(load_group("camera", "default")).noise, sigma_share=0.002)
    _, cosine, step = surface_of_depth(depth, K)
    finite = np.isfinite(depth)
    measured, kept = noise.apply(depth[finite], cosine[finite], step[finite], rng)
    image = np.zeros(depth.shape, np.uint16)
    image[finite] = np.where(kept, np.rint(measured / DEPTH_SCALE), 0).astype(np.uint16)
    return image, instance == target + 1, K


def _end_of_table(
    depth: np.ndarray, instance: np.ndarray, T_world_cam: np.ndarray, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Show the floor where the plane of the table is hit beyond its edge."""
    rays = pixel_rays(K, depth.shape[1], depth.shape[0]).reshape(*depth.shape, 3) @ T_world_cam[:3, :3].T
    plane = instance == 0
    hits = T_world_cam[:2, 3] + depth[plane, None] * rays[plane][:, :2]
    beyond = np.zeros_like(plane)
    beyond[plane] = np.abs(hits).max(-1) > _TABLE_HALF_M
    depth[beyond] = ((_FLOOR_M - T_world_cam[2, 3]) / rays[beyond][:, 2]).astype(np.float32)
    depth[depth > 6.0] = np.inf
    instance[beyond] = NOTHING
    return depth, instance
