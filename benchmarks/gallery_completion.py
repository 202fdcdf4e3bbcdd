"""What the gallery shows of scene completion: cloud, completion, truth and error of scenes, one below the other."""

import sceneleapultra.utils.core.environment  # noqa: F401

from collections.abc import Iterator

import manifold3d
import numpy as np
import trimesh
from jaxtyping import Float, Int
from matplotlib import colormaps
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from sceneleapultra.evaluation.items import Item
from sceneleapultra.models.completion.complete import CompletionModel
from sceneleapultra.models.completion.metrics import surface_points
from sceneleapultra.reporting.drawing import (
    CLOUD,
    NEIGHBOR,
    OBJECT,
    REST,
    ColoredMesh,
    ColoredPoints,
    Drawing,
)
from sceneleapultra.utils.geometry.voxels.field import OTHERS, TARGET
from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid
from sceneleapultra.utils.requests import GraspRequest

_UP = np.array([0.0, 0.0, 1.0])
_AZIMUTH_DEG = 50.0  # of the viewer; the camera's is 180, so that much is in view of what it did not see
_DOT, _MARGIN, _SAMPLES = 0.8, 1.2, 20_000
_WORST_M, _COLORS = 0.01, 10  # error from which the color stays; their number


def draw_completions(model: CompletionModel, items: list[Item]) -> list[Drawing]:
    """Draw the stages of each item, items side by side and stages below one another."""
    stages = [list(_stages(model, item)) for item in items]
    return [drawing for row in zip(*stages, strict=True) for drawing in row]


def _stages(model: CompletionModel, item: Item) -> Iterator[Drawing]:
    """Yield what is drawn of an item, in the frame of its grid."""
    view, mask = item.view, item.target_mask
    request = GraspRequest(points=view.points, object_mask=mask, viewpoint=view.T_world_cam[:3, 3], up=_UP)
    grid, _ = model.observed(request)
    predicted = model.field(request).values[0].numpy()
    half = grid.size * grid.voxel_m / 2
    local = grid.to_grid(view.points.astype(np.float64))
    near = (np.abs(local[:, :2]) <= half).all(-1)
    clouds = ColoredPoints(local[mask], CLOUD, _DOT), ColoredPoints(local[near & ~mask], REST, _DOT)
    placed = [
        (grid.to_grid(record.vertices @ T[:3, :3].T + T[:3, 3]), record.faces)
        for record, T in zip(item.scene.objects, item.scene.T_world_object, strict=True)
    ]
    true = tuple(
        ColoredMesh(vertices, faces, OBJECT if number == item.target else NEIGHBOR, "mark")
        for number, (vertices, faces) in enumerate(placed)
        if (np.abs(vertices[:, :2].mean(0)) <= half).all()
    )
    target = trimesh.Trimesh(*placed[item.target], process=False)
    surface = cKDTree(target.sample(_SAMPLES, seed=0))
    error = surface.query(surface_points(predicted[TARGET], grid))[0]

    def drawing(meshes: tuple[ColoredMesh, ...], clouds: tuple[ColoredPoints, ...], words: str) -> Drawing:
        return Drawing(
            meshes,
            clouds,
            f"{item.object.family}: {words}",
            "",
            table=True,
            azimuth_deg=_AZIMUTH_DEG,
            center=tuple(target.bounds.mean(0).tolist()),
            width_m=_MARGIN * float(np.linalg.norm(np.ptp(target.bounds, axis=0))),
        )

    solids = tuple(
        ColoredMesh(*_surface(predicted[part], grid), color, "mark")
        for part, color in ((TARGET, OBJECT), (OTHERS, NEIGHBOR))
        if (predicted[part] < 0.0).any()
    )
    yield drawing((), clouds, "cloud")
    yield drawing(solids, (), "completed")
    yield drawing(true, (), "true")
    colored = tuple(_by_error(*_surface(predicted[TARGET], grid), surface))
    yield drawing(colored, (), f"error, {1e3 * error.mean():.1f} mm")


def _surface(
    distance: Float[np.ndarray, "x y z"], grid: VoxelGrid
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Return vertices and faces of where a field is zero."""
    low, voxel = grid.centers[0, 0, 0], grid.voxel_m

    def inside(x: float, y: float, z: float) -> float:
        place = (np.array([x, y, z]) - low) / voxel
        return -float(map_coordinates(distance, place[:, None], order=1, mode="nearest")[0])

    bounds = [*low, *grid.centers[-1, -1, -1]]
    mesh = manifold3d.Manifold.level_set(inside, bounds, voxel).to_mesh()
    return np.asarray(mesh.vert_properties[:, :3], dtype=np.float64), np.asarray(
        mesh.tri_verts, dtype=np.int64
    )


def _by_error(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], surface: cKDTree
) -> Iterator[ColoredMesh]:
    """Yield a mesh in parts, by how far they are from a surface: green, then yellow, then red."""
    error = surface.query(vertices[faces].mean(1))[0]
    shade, color = (error / _WORST_M * _COLORS).astype(int).clip(max=_COLORS - 1), colormaps["RdYlGn_r"]
    for number in np.unique(shade):
        yield ColoredMesh(vertices, faces[shade == number], color(number / (_COLORS - 1))[:3], "mark")
