"""A user's own input: a cloud with its object marked, or a mesh that is dropped on a table and rendered."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import Rotation

from sceneleapultra.evaluation.items import Item
from sceneleapultra.simulation.camera import render_views
from sceneleapultra.simulation.objects import load_objects
from sceneleapultra.simulation.scene import drop_scene
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.geometry.frames import table_height

_ABOVE_M = 0.008  # points this far above the table belong to what stands on it


@dataclass(frozen=True)
class GraspRequest:
    """A cloud to grasp from; ``item`` holds the scene where it is known, ``rgb`` the colors where there are any."""

    points: Float[np.ndarray, "n 3"]
    object_mask: Bool[np.ndarray, "n"]
    viewpoint: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    rgb: UInt8[np.ndarray, "n 3"] | None
    item: Item | None

    @classmethod
    def from_mesh(cls, path: Path, seed: int) -> "GraspRequest":
        """Drop an object on a table and render one view of it.

        Raises:
            FileNotFoundError: no mesh there.
            ValueError: several meshes, or one that is no solid.
        """
        objects = load_objects(path)
        if len(objects) != 1:
            names = ", ".join(o.name for o in objects[:5])
            raise ValueError(f"{path} holds {len(objects)} objects ({names}, ...); name one of them.")
        rng = np.random.default_rng([seed, 0])
        scene = drop_scene((objects[0],), rng, build(load_group("scene", "default")))
        (view,) = render_views(scene, 1, rng, build(load_group("camera", "default")))
        item = Item(0, "requested", scene, 0, view)
        eye, up = view.T_world_cam[:3, 3], np.array([0.0, 0.0, 1.0])
        return cls(view.points, item.target_mask, eye, up, view.rgb, item)

    @classmethod
    def from_cloud(
        cls,
        path: Path,
        mask: str | None,
        viewpoint: tuple[float, float, float],
        up: tuple[float, float, float],
    ) -> "GraspRequest":
        """Read a cloud.

        Args:
            path: .npy of shape (n, 3), .ply, or .npz with ``points`` and, where there are any, ``rgb`` and ``mask``.
            mask: ``above-table``, ``all``, or an .npy file of n booleans that marks the object; None for the file's own
                ``mask``, or ``above-table`` where it has none.
            viewpoint: camera center in the frame of the cloud.
            up: direction against gravity in the frame of the cloud.

        Raises:
            FileNotFoundError: no file there.
            ValueError: not a cloud, or colors or a mask that do not fit it.
        """
        direction = np.asarray(up, dtype=float)
        if not np.linalg.norm(direction) > 0:
            raise ValueError(
                f"up must point against gravity, got {up}. In a level camera's frame it is 0 -1 0."
            )
        direction /= np.linalg.norm(direction)
        points, rgb, own_mask = _read_cloud(path)
        if points.ndim != 2 or points.shape[1] != 3 or not np.issubdtype(points.dtype, np.floating):
            raise ValueError(
                f"{path}: expected floats of shape (n, 3) in metres, got {points.dtype} {points.shape}."
            )
        if rgb is not None and (rgb.shape != points.shape or rgb.dtype != np.uint8):
            raise ValueError(
                f"{path}: expected colors as uint8 of shape {points.shape}, got {rgb.dtype} {rgb.shape}. "
                "Multiply colors of 0 to 1 by 255."
            )
        if mask is None and own_mask is not None:
            marked = _check_mask(own_mask, len(points), f"{path}, mask")
        else:
            marked = _marked_points(points, mask or "above-table", direction)
        return cls(points, marked, np.asarray(viewpoint, dtype=float), direction, rgb, None)


def is_mesh(path: Path) -> bool:
    """Whether a file holds a surface, not only points."""
    if path.suffix.lower() != ".ply":
        return path.is_dir() or path.suffix.lower() in (".obj", ".stl")
    return isinstance(trimesh.load(path), trimesh.Trimesh)


def _read_cloud(path: Path) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return points, colors and mask of a file; None for what it lacks."""
    if not path.is_file():
        raise FileNotFoundError(f"No cloud or mesh at {path}.")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.load(path), None, None
    if suffix == ".npz":
        with np.load(path) as file:
            if "points" not in file:
                raise ValueError(f"{path}: expected arrays points, rgb and mask, got {', '.join(file)}.")
            found = dict(file)
        return found["points"], found.get("rgb"), found.get("mask")
    if suffix == ".ply":
        cloud = trimesh.load(path)
        colors = getattr(cloud, "colors", None)  # RGBA of a point cloud, empty without colors
        rgb = None if colors is None or len(colors) == 0 else np.asarray(colors)[:, :3]
        return np.asarray(cloud.vertices), rgb, None  # type: ignore[attr-defined]
    raise ValueError(
        f"{path}: expected a cloud (.npy, .npz, .ply) or a mesh (.obj, .stl, .ply), got '{path.suffix}'."
    )


def _marked_points(
    points: Float[np.ndarray, "n 3"], mask: str, up: Float[np.ndarray, "3"]
) -> Bool[np.ndarray, "n"]:
    if mask == "all":
        return np.ones(len(points), dtype=bool)
    if mask == "above-table":
        return points @ up > table_height(points, up) + _ABOVE_M
    if not Path(mask).is_file():
        raise FileNotFoundError(
            f"--mask: expected above-table, all or an .npy file of booleans, found none at {mask}."
        )
    return _check_mask(np.load(mask), len(points), f"--mask {mask}")


def _check_mask(mask: np.ndarray, count: int, source: str) -> Bool[np.ndarray, "n"]:
    if mask.shape != (count,) or mask.dtype != bool:
        raise ValueError(
            f"{source}: expected {count} booleans, one per point, got {mask.dtype} {mask.shape}."
        )
    return mask


def upright(up: Float[np.ndarray, "3"], height: float) -> Float[np.ndarray, "4 4"]:
    """Return the rigid motion that makes ``up`` the z axis and puts the given height at z = 0."""
    T = np.eye(4)
    T[:3, :3] = Rotation.align_vectors([[0.0, 0.0, 1.0]], [up])[0].as_matrix()
    T[2, 3] = -height
    return T
