import dataclasses

import numpy as np
import pytest
import trimesh

from sceneleapultra.simulation.camera import CameraSettings, camera_poses, look_at, render_views, take_view
from sceneleapultra.simulation.depth_noise import DepthNoise
from sceneleapultra.simulation.raycast import NOTHING, RayCaster, pixel_rays
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy
from sceneleapultra.utils.records import ObjectRecord, Scene, View

SETTINGS: CameraSettings = build(load_group("camera", "default"))
NO_NOISE = DepthNoise(
    sigma_share=0.0, quantum_m=None, dropout=0.0, grazing_cosine=0.0, edge_step_m=1e3, edge_dropout=0.0
)
CLEAN = dataclasses.replace(SETTINGS, noise=NO_NOISE)


def record(mesh: trimesh.Trimesh, name: str) -> ObjectRecord:
    vertices = np.asarray(mesh.vertices - mesh.center_mass)
    return ObjectRecord(name, name.split("-")[0], vertices, np.asarray(mesh.faces), (vertices,), 0.1)


def boxes(*placed: tuple[tuple[float, float, float], tuple[float, float]], table: bool = True) -> Scene:
    """Boxes of given sides that stand on the table at given xy."""
    records, poses = [], []
    for i, (sides, xy) in enumerate(placed):
        T = np.eye(4)
        T[:3, 3] = [*xy, sides[2] / 2]
        poses.append(T)
        records.append(record(trimesh.creation.box(sides), f"box-{i:06d}"))
    return Scene(tuple(records), np.stack(poses), table)


TWO = boxes(((0.06, 0.04, 0.05), (0.0, 0.0)), ((0.03, 0.03, 0.10), (0.12, 0.05)))


def above(height: float) -> np.ndarray:
    """A camera that looks straight down: x right along world x, y down along world -y."""
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[2, 3] = height
    return T


def view_from(scene: Scene, position: tuple[float, float, float], settings: CameraSettings) -> View:
    T_world_cam = look_at(np.array([position]), np.array([[0.0, 0.0, 0.03]]), np.zeros(1))[0]
    return take_view(scene, RayCaster(scene), T_world_cam, np.random.default_rng(0), settings)


def test_poses_are_rigid_and_look_at_the_scene() -> None:
    center = np.array([0.1, -0.05, 0.04])
    steady = dataclasses.replace(SETTINGS, look_at_jitter_m=0.0)
    poses = camera_poses(center, 200, np.random.default_rng(0), steady)
    rotation, position = poses[:, :3, :3], poses[:, :3, 3]
    np.testing.assert_allclose(
        rotation.transpose(0, 2, 1) @ rotation, np.tile(np.eye(3), (200, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0)
    in_cam = np.einsum("nij,ni->nj", rotation, center - position)
    np.testing.assert_allclose(in_cam[:, :2], 0.0, atol=1e-12)  # the center is on the optical axis
    assert in_cam[:, 2].min() >= 0.45 and in_cam[:, 2].max() <= 0.75
    elevation = np.rad2deg(np.arcsin((position - center)[:, 2] / in_cam[:, 2]))
    assert 25.0 <= elevation.min() < 30.0 and 65.0 < elevation.max() <= 70.0
    assert (rotation[:, 2, 1] < 0).all()  # the image's down is the world's down


def test_depth_of_a_known_box_top() -> None:
    caster, K = RayCaster(TWO), CLEAN.K
    depth, instance = caster.render(above(0.6), K, CLEAN.width, CLEAN.height)
    # Straight down the depth of a level surface is the height of the camera above it: 0.6 - 0.05, 0.6 - 0.10.
    np.testing.assert_allclose(depth[instance == 1].min(), 0.55, atol=1e-6)
    np.testing.assert_allclose(depth[instance == 2].min(), 0.50, atol=1e-6)
    np.testing.assert_allclose(depth[instance == 0], 0.6, atol=1e-6)
    # The top of box 0 is 0.06 x 0.04: its share of the image is its area times (f / depth)^2.
    top = np.abs(depth - 0.55) < 1e-5
    assert abs(top.sum() - 0.06 * 0.04 * (K[0, 0] / 0.55) ** 2) < 60
    rows, columns = np.nonzero(instance == 2)
    assert columns.mean() > CLEAN.width / 2 and rows.mean() < CLEAN.height / 2  # at +x, +y of the world


def test_back_projected_points_lie_on_the_surfaces() -> None:
    view = view_from(TWO, (0.3, -0.4, 0.3), CLEAN)
    assert view.points.dtype == np.float32 and view.rgb.dtype == np.uint8 and view.instance.dtype == np.uint8
    assert np.abs(view.points[view.instance == 0, 2]).max() < 1e-4
    for i, (record_i, T) in enumerate(zip(TWO.objects, TWO.T_world_object, strict=True)):
        half = record_i.vertices.max(0)
        local = view.points[view.instance == i + 1] - T[:3, 3]
        assert len(local) > 200
        np.testing.assert_allclose((np.abs(local) - half).max(1), 0.0, atol=1e-5)  # on a face of the box
    # Points project into the image with the stored camera, in front of it.
    in_cam = (view.points - view.T_world_cam[:3, 3]) @ view.T_world_cam[:3, :3]
    pixels = in_cam @ view.K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    assert in_cam[:, 2].min() > 0.0
    assert (np.abs(pixels - np.round(pixels)) < 0.01).all()
    assert (pixels > -0.5).all() and (pixels < [SETTINGS.width - 0.5, SETTINGS.height - 0.5]).all()


def test_inside_of_a_cup_is_seen() -> None:
    outer = trimesh.creation.cylinder(0.04, 0.10, sections=32)
    inner = trimesh.creation.cylinder(0.035, 0.10, sections=32)
    inner.apply_translation([0, 0, 0.01])
    cup = outer.difference(inner)
    lift = 0.05 + cup.center_mass[2]  # the frame is at the center of mass; the bottom stands at z = 0
    T = np.eye(4)
    T[2, 3] = lift
    scene = Scene((record(cup, "cup-000000"),), T[None], table=True)
    depth, instance = RayCaster(scene).render(above(0.6), CLEAN.K, CLEAN.width, CLEAN.height)
    center = depth[CLEAN.height // 2, CLEAN.width // 2]
    assert instance[CLEAN.height // 2, CLEAN.width // 2] == 1
    np.testing.assert_allclose(center, 0.59, atol=1e-5)  # the floor of the cup is 1 cm thick
    np.testing.assert_allclose(depth[instance == 1].min(), 0.50, atol=1e-5)  # its rim


def test_pixels_left_uncast_show_no_object() -> None:
    caster = RayCaster(TWO)
    for T_world_cam in camera_poses(np.array([0.05, 0.0, 0.03]), 5, np.random.default_rng(2), SETTINGS):
        depth, instance = caster.render(T_world_cam, CLEAN.K, CLEAN.width, CLEAN.height)
        rays = pixel_rays(CLEAN.K, CLEAN.width, CLEAN.height) @ T_world_cam[:3, :3].T
        for i, (sides, T) in enumerate(
            zip(((0.06, 0.04, 0.05), (0.03, 0.03, 0.10)), TWO.T_world_object, strict=True)
        ):
            # Slab test of every ray with the box.
            with np.errstate(divide="ignore"):
                near = (np.array(sides) / -2 - (T_world_cam[:3, 3] - T[:3, 3])) / rays
                far = (np.array(sides) / 2 - (T_world_cam[:3, 3] - T[:3, 3])) / rays
            enter, leave = np.minimum(near, far).max(1), np.maximum(near, far).min(1)
            hit = (enter < leave).reshape(instance.shape)
            shown = instance == i + 1
            assert (hit & ~shown & (instance != 2 - i)).sum() <= 5  # rays along an edge may go either way
            np.testing.assert_allclose(depth[shown], enter.reshape(hit.shape)[shown], atol=1e-4)


def test_blocks_are_ordered_and_hold_no_point_twice() -> None:
    views = render_views(TWO, 2, np.random.default_rng(1), SETTINGS)
    for view in views:
        assert (np.diff(view.instance.astype(int)) >= 0).all()
        assert len(np.unique(view.points, axis=0)) == len(view.points)
        counts = np.bincount(view.instance)
        assert counts[0] == SETTINGS.table_points and counts[1:].min() > 100 and counts.max() <= 1024
        for i in range(3):
            block = view.points[view.instance == i]
            assert np.array_equal(farthest_point_order_numpy(block, len(block)), np.arange(len(block)))


def test_table_is_kept_near_the_objects_only() -> None:
    near = dataclasses.replace(CLEAN, table_margin_m=0.02)
    scene = boxes(((0.06, 0.04, 0.05), (0.0, 0.0)))
    view = view_from(scene, (0.4, 0.0, 0.4), near)
    reach = np.hypot(0.03, 0.02) + 0.02
    distance = np.linalg.norm(view.points[view.instance == 0, :2], axis=1)
    assert 0.8 * reach < distance.max() <= reach + 1e-6


def test_hidden_object_has_an_empty_block() -> None:
    wall_hides_last = boxes(((0.02, 0.3, 0.2), (0.1, 0.0)), ((0.03, 0.03, 0.03), (0.0, 0.0)))
    view = view_from(wall_hides_last, (0.6, 0.0, 0.2), SETTINGS)
    assert (view.instance == 1).any() and not (view.instance == 2).any()
    wall_hides_first = boxes(((0.03, 0.03, 0.03), (0.0, 0.0)), ((0.02, 0.3, 0.2), (0.1, 0.0)))
    view = view_from(wall_hides_first, (0.6, 0.0, 0.2), SETTINGS)
    assert (view.instance == 2).any() and not (view.instance == 1).any()


def test_scene_without_table_shows_objects_only() -> None:
    view = view_from(boxes(((0.05, 0.05, 0.05), (0.0, 0.0)), table=False), (0.4, 0.1, 0.3), SETTINGS)
    assert len(view.points) > 100 and (view.instance == 1).all()
    caster = RayCaster(boxes(((0.05, 0.05, 0.05), (0.0, 0.0)), table=False))
    depth, instance = caster.render(above(0.6), CLEAN.K, CLEAN.width, CLEAN.height)
    assert np.isinf(depth[instance == NOTHING]).all()


def test_views_are_a_function_of_the_generator() -> None:
    first, again, other = (render_views(TWO, 1, np.random.default_rng(s), SETTINGS)[0] for s in (1, 1, 2))
    for field in dataclasses.fields(View):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.array_equal(first.T_world_cam, other.T_world_cam)


def test_depth_noise_has_the_stated_statistics() -> None:
    n = 40000
    depth, facing, smooth = np.full(n, 0.8, np.float32), np.ones(n, np.float32), np.zeros(n, np.float32)
    noise = dataclasses.replace(NO_NOISE, sigma_share=0.001, dropout=0.02)
    measured, kept = noise.apply(depth, facing, smooth, np.random.default_rng(0))
    # 5 standard errors: sigma / sqrt(n) = 4e-6, sigma / sqrt(2 n) = 2.8e-6, sqrt(0.02 * 0.98 / n) = 7e-4.
    assert abs(measured.mean() - 0.8) < 2e-5
    assert abs(measured.std() - 0.0008) < 1.5e-5
    assert abs(kept.mean() - 0.98) < 3.5e-3
    grazing = dataclasses.replace(NO_NOISE, grazing_cosine=0.3)
    kept = grazing.apply(depth, 0.5 * 0.3 * facing, smooth, np.random.default_rng(0))[1]
    assert abs(kept.mean() - 0.5) < 0.0125  # half the cosine, half the pixels
    assert grazing.apply(depth, 0.3 * facing, smooth, np.random.default_rng(0))[1].all()
    edges = dataclasses.replace(NO_NOISE, edge_step_m=0.01, edge_dropout=1.0)
    step = np.where(np.arange(n) % 2, 0.011, 0.009).astype(np.float32)
    assert np.array_equal(edges.apply(depth, facing, step, np.random.default_rng(0))[1], step < 0.01)
    coarse = dataclasses.replace(NO_NOISE, quantum_m=0.05)
    np.testing.assert_allclose(
        coarse.apply(depth + 0.01, facing, smooth, np.random.default_rng(0))[0], 0.8, rtol=1e-6
    )


@pytest.mark.parametrize("azimuth", [0.0, 1.0, 4.0])
def test_edges_and_grazing_faces_are_lost_but_not_the_slanted_table(azimuth: float) -> None:
    scene = boxes(((0.05, 0.05, 0.08), (0.0, 0.0)))
    position = (0.6 * np.cos(azimuth), 0.6 * np.sin(azimuth), 0.31)
    everything = dataclasses.replace(
        CLEAN,
        object_points=10**6,
        table_points=10**6,
        oversampling=1,
        width=160,
        height=120,
        table_margin_m=0.05,
    )
    lossy = dataclasses.replace(NO_NOISE, edge_step_m=SETTINGS.noise.edge_step_m, edge_dropout=1.0)
    full = view_from(scene, position, everything)
    seen = view_from(scene, position, dataclasses.replace(everything, noise=lossy))
    lost = np.bincount(full.instance) - np.bincount(seen.instance)
    # Both sides of the silhouette are lost: a line of pixels, not an area.
    assert 10 < lost[1] < 0.35 * (full.instance == 1).sum()
    assert 10 < lost[0] < 0.1 * (full.instance == 0).sum()


def test_colors_tell_objects_apart() -> None:
    view = view_from(TWO, (0.3, -0.4, 0.3), SETTINGS)
    table = view.rgb[view.instance == 0].astype(float)
    assert np.ptp(table.mean(0)) < 12  # gray
    assert 0.5 < table.std(0).mean() < 15  # with a little texture
    means = [view.rgb[view.instance == i].astype(float).mean(0) for i in range(3)]
    assert min(np.linalg.norm(means[i] - means[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 25
