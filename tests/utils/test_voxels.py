"""Is what one view says of each voxel right, on scenes whose rays can be followed with pencil and paper?"""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.geometry.voxels.grid import Standpoint, VoxelGrid, voxel_length
from sceneleapultra.utils.geometry.voxels.observe import BEHIND, CHANNELS, FREE, observe

UP = np.array([0.0, 0.0, 1.0])
CAMERA = np.array([-0.5, 0.0, 0.45])
TARGET = (np.array([0.0, 0.0, 0.04]), 0.04)  # a sphere on the table
NEIGHBOR = (np.array([-0.09, 0.0, 0.03]), 0.03)  # between it and the camera
VOXEL_M = 0.006


def hits(center: np.ndarray, radius: float, to: np.ndarray) -> np.ndarray:
    """How far along the way from the camera to a place (1: there) a ray meets a sphere; infinite where it does not."""
    way, offset = to - CAMERA, CAMERA - center
    a, b = np.square(way).sum(-1), (way * offset).sum(-1)
    inner = b * b - a * (offset @ offset - radius**2)
    return np.where(inner > 0.0, (-b - np.sqrt(np.maximum(inner, 0.0))) / a, np.inf)


def seen(spheres: list[tuple[np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Points of the table and of spheres that a camera sees, and of which sphere each is (-1: the table)."""
    x, y = np.meshgrid(np.linspace(-0.25, 0.75, 401), np.linspace(-0.3, 0.3, 241), indexing="ij")
    table = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=-1)
    shares = np.stack([np.ones(len(table)), *(hits(*sphere, table) for sphere in spheres)])
    first = shares.argmin(0)
    return CAMERA + shares.min(0)[:, None] * (table - CAMERA), first - 1


def grid_about_target() -> VoxelGrid:
    points, of = seen([TARGET])
    return VoxelGrid.of(points[of == 0], Standpoint(CAMERA, UP, 0.0), size=32, voxel_m=VOXEL_M)


def channels(spheres: list[tuple[np.ndarray, float]]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    grid = grid_about_target()
    points, of = seen(spheres)
    found = observe(grid, points, of == 0, CAMERA)
    places = grid.centers @ grid.T_cloud_grid[:3, :3].T + grid.T_cloud_grid[:3, 3]
    return dict(zip(CHANNELS, found, strict=True)), places


def test_voxels_before_a_surface_are_free_and_those_behind_it_hidden_by_what_the_ray_met() -> None:
    """Against rays followed analytically, but for voxels that a voxel's width would turn into something else."""
    found, places = channels([TARGET, NEIGHBOR])
    share = np.stack([hits(*TARGET, places), hits(*NEIGHBOR, places)])
    width = VOXEL_M / np.linalg.norm(places - CAMERA, axis=-1)
    # Rays that pass within a voxel and a half of an outline may be taken for their neighbors.
    wide, narrow = (
        np.stack([np.isfinite(hits(c, r + d, places)) for c, r in (TARGET, NEIGHBOR)])
        for d in (1.5 * VOXEL_M, -1.5 * VOXEL_M)
    )
    first = share.min(0)
    sure = (wide == narrow).all(0) & (np.abs(first - 1.0) > 1.5 * width)
    hidden = first < 1.0
    assert sure.mean() > 0.7
    expected = {
        "free": ~hidden,
        "hidden_by_target": hidden & (share[0] < share[1]),
        "hidden_by_other": hidden & (share[1] < share[0]),
    }
    for name, true in expected.items():
        assert true[sure].sum() > 300
        np.testing.assert_array_equal(found[name][sure] == 1.0, true[sure], err_msg=name)


def test_points_mark_their_voxels_and_the_table_none() -> None:
    found, _ = channels([TARGET, NEIGHBOR])
    points, of = seen([TARGET, NEIGHBOR])
    grid = grid_about_target()
    for number, name in enumerate(("target_seen", "other_seen")):
        local = grid.to_grid(points[of == number])
        local = local[local[:, 2] > 0.005]  # below, points of neighbors are those of the table
        cells = np.floor(local / VOXEL_M + [16, 16, 0]).astype(int)
        inside = cells[((cells >= 0) & (cells < 32)).all(-1)]
        true = np.zeros((32, 32, 32))
        true[tuple(inside.T)] = 1.0
        assert (found[name][true == 1.0] == 1.0).all()
        assert found[name].sum() <= true.sum() + (8 if number == 0 else 0)


def test_depth_behind_a_surface_is_that_along_the_optical_axis() -> None:
    grid = grid_about_target()
    found, places = channels([TARGET])
    axis = grid.T_cloud_grid[:3, 3] - CAMERA
    axis /= np.linalg.norm(axis)
    share = hits(*TARGET, places)
    inner = np.isfinite(hits(TARGET[0], 0.8 * TARGET[1], places))
    behind = (1.0 - share) * ((places - CAMERA) @ axis)
    expected = np.clip(behind / 0.03, -1.0, 1.0)
    error = np.abs(found["behind"] - expected)[inner]
    assert inner.sum() > 1000
    assert error.max() < 0.15, "4.5 mm: half the distance of two points, on a slope"
    assert error.mean() < 0.02


def test_height_and_resolution_are_what_they_say() -> None:
    found, places = channels([TARGET])
    np.testing.assert_allclose(found["height"], places[..., 2] / 0.1, atol=1e-6)
    np.testing.assert_allclose(found["resolution"], VOXEL_M / 0.01)


def test_where_nothing_was_measured_a_voxel_is_neither_free_nor_hidden() -> None:
    grid = grid_about_target()
    points, of = seen([TARGET])
    half = points[:, 1] < 0.0
    found = observe(grid, points[half], (of == 0)[half], CAMERA)
    side = grid.centers[..., 1] * grid.T_cloud_grid[1, 1] > 0.05
    assert side.sum() > 1000
    assert (found[FREE][side] == 0.0).all()
    assert (found[3:5, side] == 0.0).all()
    assert (found[BEHIND][side] == 0.0).all()


@pytest.mark.parametrize("angle", [0.7, 2.5, -1.9])
def test_a_scene_turned_with_its_camera_has_the_same_voxels(angle: float) -> None:
    """Everything is taken relative to the line of sight: turns about the vertical change nothing."""
    points, of = seen([TARGET, NEIGHBOR])
    turn = Rotation.from_euler("z", angle).as_matrix()
    offset = np.array([0.4, -2.0, 0.3])
    grids = [
        VoxelGrid.of(p[of == 0], Standpoint(v, UP, h), size=16, voxel_m=0.012)
        for p, v, h in ((points, CAMERA, 0.0), (points @ turn.T + offset, turn @ CAMERA + offset, 0.3))
    ]
    # The middle of a box about the points turns with them only up to the box's own turn.
    same = grids[1]
    moved = VoxelGrid(np.eye(4), 16, 0.012)
    moved.T_cloud_grid[:3, :3] = turn @ grids[0].T_cloud_grid[:3, :3]
    moved.T_cloud_grid[:3, 3] = turn @ grids[0].T_cloud_grid[:3, 3] + offset
    assert np.linalg.norm(same.T_cloud_grid[:3, 3] - moved.T_cloud_grid[:3, 3]) < 0.02
    first = observe(grids[0], points, of == 0, CAMERA)
    second = observe(moved, points @ turn.T + offset, of == 0, turn @ CAMERA + offset)
    assert (np.abs(first - second) > 1e-5).mean() < 1e-3, "but for points on the border of two voxels"


def test_a_field_gives_its_values_at_centers_and_linear_ones_between() -> None:
    grid = grid_about_target()
    slope = torch.tensor([0.3, -0.2, 0.5])
    centers = torch.from_numpy(grid.centers).float()
    values = torch.stack([centers @ slope, centers @ -slope]).clamp(-0.03, 0.03)[None]
    field = SceneField.of(grid, values, 0.03)
    inner = (torch.rand(500, 3) - torch.tensor([0.5, 0.5, 0.0])) * torch.tensor([0.05, 0.05, 0.03]) + 0.003
    T = torch.from_numpy(grid.T_cloud_grid).float()
    distance = field.distance(inner @ T[:3, :3].T + T[:3, 3])
    torch.testing.assert_close(distance[:, 0], inner @ slope, atol=1e-6, rtol=0.0)
    others = torch.minimum(inner @ -slope, inner[:, 2])
    torch.testing.assert_close(distance[:, 1], others, atol=1e-6, rtol=0.0)


def test_outside_of_its_grid_a_field_knows_the_table_only() -> None:
    grid = grid_about_target()
    field = SceneField.of(grid, torch.full((1, 2, 32, 32, 32), -0.01), 0.03)
    T = torch.from_numpy(grid.T_cloud_grid).float()
    beyond = torch.tensor([[0.2, 0.0, 0.01], [0.0, 0.2, 0.25], [0.2, 0.2, -0.02]])
    distance = field.distance(beyond @ T[:3, :3].T + T[:3, 3])
    torch.testing.assert_close(
        distance, torch.tensor([[0.03, 0.01], [0.03, 0.03], [0.03, -0.02]]), atol=1e-6, rtol=0.0
    )


def test_the_worst_of_several_hypotheses_counts_and_a_field_moves_with_its_frame() -> None:
    grid = grid_about_target()
    values = torch.stack([torch.full((2, 32, 32, 32), v) for v in (0.02, 0.005)])
    field = SceneField.of(grid, values, 0.03)
    point = torch.from_numpy(grid.T_cloud_grid[:3, 3] + [0.0, 0.0, 0.1]).float()[None]
    torch.testing.assert_close(field.distance(point), torch.full((1, 2), 0.005))
    shift = np.eye(4)
    shift[:3, 3] = [1.0, -2.0, 0.5]
    moved = field.moved_to(shift).distance(point - torch.tensor([1.0, -2.0, 0.5]))
    torch.testing.assert_close(moved, field.distance(point))


def test_voxels_are_chosen_by_the_visible_extent_alone() -> None:
    small = np.array([[0.0, 0.0, 0.0], [0.069, 0.01, 0.0]])
    assert voxel_length(small, (0.006, 0.008), (0.07,)) == 0.006
    assert (
        voxel_length(small + [0.001, 0.0, 0.0] * np.array([[0.0], [1.0]]), (0.006, 0.008), (0.07,)) == 0.008
    )
