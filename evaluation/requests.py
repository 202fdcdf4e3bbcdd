"""How somebody's own file becomes a question: a cloud with its object marked, or a mesh on a table, looked at."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from sceneleapultra.evaluation.items import Item
from sceneleapultra.simulation.camera import render_views
from sceneleapultra.simulation.objects import load_objects
from sceneleapultra.simulation.scene import drop_scene
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.geometry.frames import table_height

_ABOVE_M = 0.008  # points this far above the table belong to what stands on it


@dataclass(frozen=True)
class Question:
    """A cloud to grasp from; ``item`` holds the truth where a mesh is known."""

    points: Float[np.ndarray, "n 3"]
    object_mask: Bool[np.ndarray, "n"]
    viewpoint: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    item: Item | None


def is_mesh(path: Path) -> bool:
    """Tell whether a file holds a surface, not only points."""
    if path.suffix.lower() != ".ply":
        return path.is_dir() or path.suffix.lower() in (".obj", ".stl")
    return isinstance(trimesh.load(path), trimesh.Trimesh)


def question_from_mesh(path: Path, seed: int) -> Question:
    """Drop the object on a table, look at it once, and ask for grasps from what was seen.

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
    item = Item(0, "asked", scene, 0, view)
    return Question(view.points, item.target_mask, view.T_world_cam[:3, 3], np.array([0.0, 0.0, 1.0]), item)


def question_from_cloud(
    path: Path, mask: str, viewpoint: tuple[float, float, float], up: tuple[float, float, float]
) -> Question:
    """Read a cloud.

    Args:
        path: .npy of shape (n, 3) or .ply, metres.
        mask: ``above-table``, ``all``, or an .npy file of n booleans that marks the object.
        viewpoint: camera center in the frame of the cloud.
        up: direction against gravity in the frame of the cloud.

    Raises:
        FileNotFoundError: no file there.
        ValueError: not a cloud, or a mask that does not fit it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No cloud or mesh at {path}.")
    if path.suffix.lower() == ".npy":
        points = np.load(path)
    elif path.suffix.lower() == ".ply":
        points = np.asarray(trimesh.load(path).vertices)  # type: ignore[attr-defined]
    else:
        raise ValueError(
            f"{path}: expected a cloud (.npy, .ply) or a mesh (.obj, .stl, .ply), got '{path.suffix}'."
        )
    if points.ndim != 2 or points.shape[1] != 3 or not np.issubdtype(points.dtype, np.floating):
        raise ValueError(
            f"{path}: expected floats of shape (n, 3) in metres, got {points.dtype} {points.shape}."
        )
    direction = np.asarray(up, dtype=float)
    if not np.linalg.norm(direction) > 0:
        raise ValueError(f"up must point against gravity, got {up}. In a level camera's frame it is 0 -1 0.")
    direction /= np.linalg.norm(direction)
    return Question(
        points, _marked(points, mask, direction), np.asarray(viewpoint, dtype=float), direction, None
    )


def _marked(points: Float[np.ndarray, "n 3"], mask: str, up: Float[np.ndarray, "3"]) -> Bool[np.ndarray, "n"]:
    if mask == "all":
        return np.ones(len(points), dtype=bool)
    if mask == "above-table":
        return points @ up > table_height(points, up) + _ABOVE_M
    if not Path(mask).is_file():
        raise FileNotFoundError(
            f"--mask: expected above-table, all or an .npy file of booleans, found none at {mask}."
        )
    marked = np.load(mask)
    if marked.shape != (len(points),) or marked.dtype != bool:
        raise ValueError(
            f"--mask {mask}: expected {len(points)} booleans, one per point, got {marked.dtype} {marked.shape}."
        )
    return marked


def upright(up: Float[np.ndarray, "3"], height: float) -> Float[np.ndarray, "4 4"]:
    """Return the motion that makes ``up`` the z axis and puts the given height at z = 0."""
    T = np.eye(4)
    T[:3, :3] = Rotation.align_vectors([[0.0, 0.0, 1.0]], [up])[0].as_matrix()
    T[2, 3] = -height
    return T
