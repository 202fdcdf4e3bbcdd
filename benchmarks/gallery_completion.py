"""What the gallery shows of scene completion: its stages with their error, and hypotheses with their spread."""

import sceneleapultra.utils.core.environment  # noqa: F401

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
_WORST_M, _COLORS = 0.01, 10  # error or spread from which the color stays; their number
_SHOWN = 3  # of hypotheses


@dataclass(frozen=True)
class _Stage:
    """An item in the frame of its grid, and what a model completes there."""

    item: Item
    grid: VoxelGrid
    predicted: Float[np.ndarray, "k 2 x y z"]
    clouds: tuple[ColoredPoints, ...]  # what is seen
    true: tuple[ColoredMesh, ...]
    target: trimesh.Trimesh

    @classmethod
    def of(cls, model: CompletionModel, item: Item) -> "_Stage":
        """Complete an item."""
        view, mask = item.view, item.target_mask
        request = GraspRequest(
            points=view.points, object_mask=mask, viewpoint=view.T_world_cam[:3, 3], up=_UP
        )
        grid, _ = model.observed(request)
        half = grid.size * grid.voxel_m / 2
        local = grid.to_grid(view.points.astype(np.float64))
        near = (np.abs(local[:, :2]) <= half).all(-1)
        placed = [
            (grid.to_grid(record.vertices @ T[:3, :3].T + T[:3, 3]), record.faces)
            for record, T in zip(item.scene.objects, item.scene.T_world_object, strict=True)
        ]
        return cls(
            item,
            grid,
            model.field(request).values.numpy(),
            (ColoredPoints(local[mask], CLOUD, _DOT), ColoredPoints(local[near & ~mask], REST, _DOT)),
            tuple(
                ColoredMesh(vertices, faces, OBJECT if number == item.target else NEIGHBOR, "mark")
                for number, (vertices, faces) in enumerate(placed)
                if (np.abs(vertices[:, :2].mean(0)) <= half).all()
            ),
            trimesh.Trimesh(*placed[item.target], process=False),
        )

    def solids(self, hypothesis: int) -> tuple[ColoredMesh, ...]:
        """Return what one hypothesis takes for solid."""
        predicted = self.predicted[hypothesis]
        return tuple(
            ColoredMesh(*_surface(predicted[part], self.grid), color, "mark")
            for part, color in ((TARGET, OBJECT), (OTHERS, NEIGHBOR))
            if (predicted[part] < 0.0).any()
        )

    def drawing(
        self, meshes: tuple[ColoredMesh, ...], clouds: tuple[ColoredPoints, ...], words: str
    ) -> Drawing:
        """Draw a part of it."""
        return Drawing(
            meshes,
            clouds,
            f"{self.item.object.family}: {words}",
            "",
            table=True,
            azimuth_deg=_AZIMUTH_DEG,
            center=tuple(self.target.bounds.mean(0).tolist()),
            width_m=_MARGIN * float(np.linalg.norm(np.ptp(self.target.bounds, axis=0))),
        )


def draw_completions(model: CompletionModel, items: list[Item]) -> list[Drawing]:
    """Draw the stages of each item, items side by side and stages below one another."""
    stages = [list(_stages(_Stage.of(model, item))) for item in items]
    return [drawing for row in zip(*stages, strict=True) for drawing in row]


def draw_hypotheses(model: CompletionModel, items: list[Item]) -> list[Drawing]:
    """Draw cloud, truth and spread of each item, and the first three hypotheses below them."""
    return [drawing for item in items for drawing in _guesses(_Stage.of(model, item))]


def _stages(stage: _Stage) -> Iterator[Drawing]:
    """Yield what is drawn of an item's completion."""
    surface = cKDTree(stage.target.sample(_SAMPLES, seed=0))
    predicted = stage.predicted[0, TARGET]
    error = surface.query(surface_points(predicted, stage.grid))[0]
    yield stage.drawing((), stage.clouds, "cloud")
    yield stage.drawing(stage.solids(0), (), "completed")
    yield stage.drawing(stage.true, (), "true")
    colored = tuple(_by_amount(*_surface(predicted, stage.grid), lambda x: surface.query(x)[0]))
    yield stage.drawing(colored, (), f"error, {1e3 * error.mean():.1f} mm")


def _guesses(stage: _Stage) -> Iterator[Drawing]:
    """Yield what is drawn of an item's hypotheses."""
    predicted = stage.predicted[:, TARGET]
    mean, spread = predicted.mean(0), predicted.std(0)

    def spread_at(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        found: np.ndarray = map_coordinates(spread, _voxel(stage.grid, places).T, order=1, mode="nearest")
        return found

    average = spread_at(surface_points(mean, stage.grid)).mean()
    yield stage.drawing((), stage.clouds, "cloud")
    yield stage.drawing(stage.true, (), "true")
    colored = tuple(_by_amount(*_surface(mean, stage.grid), spread_at))
    yield stage.drawing(colored, (), f"spread of {len(predicted)}, {1e3 * average:.1f} mm")
    for number in range(_SHOWN):
        yield stage.drawing(stage.solids(number), (), f"hypothesis {number + 1}")


def _voxel(grid: VoxelGrid, places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return places of a grid's frame in voxels, the first one's center at zero."""
    found: np.ndarray = (places - grid.centers[0, 0, 0]) / grid.voxel_m
    return found


def _surface(
    distance: Float[np.ndarray, "x y z"], grid: VoxelGrid
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Return vertices and faces of where a field is zero."""

    def inside(x: float, y: float, z: float) -> float:
        place = _voxel(grid, np.array([[x, y, z]]))
        return -float(map_coordinates(distance, place.T, order=1, mode="nearest")[0])

    bounds = [*grid.centers[0, 0, 0], *grid.centers[-1, -1, -1]]
    mesh = manifold3d.Manifold.level_set(inside, bounds, grid.voxel_m).to_mesh()
    return np.asarray(mesh.vert_properties[:, :3], dtype=np.float64), np.asarray(
        mesh.tri_verts, dtype=np.int64
    )


def _by_amount(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    amount: Callable[[Float[np.ndarray, "f 3"]], Float[np.ndarray, "f"]],
) -> Iterator[ColoredMesh]:
    """Yield a mesh in parts, by an amount at their middle (m): green, then yellow, then red."""
    found = amount(vertices[faces].mean(1))
    shade, color = (found / _WORST_M * _COLORS).astype(int).clip(max=_COLORS - 1), colormaps["RdYlGn_r"]
    for number in np.unique(shade):
        yield ColoredMesh(vertices, faces[shade == number], color(number / (_COLORS - 1))[:3], "mark")
