"""Does the network see the same cloud when it samples as when it is trained, whatever frame the cloud is given in?"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from factories.models import small_encoder, small_generator
from factories.records import PROCESSOR, scene_record
from sceneleapultra.datasets.items.item_cloud import ItemCloud, build_cloud
from sceneleapultra.models import GraspModel
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.representation import PoseRepresentation
from sceneleapultra.utils.geometry.frames import CAMERA_MODES, MODES
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy
from sceneleapultra.utils.records import View

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"num_points": 700},
    "large crop": {"crop_radius": 0.4, "num_points": 160},
    "more target": {"target_share": 0.8},
}
# A camera whose axes are the world's, turned by right angles, at 64ths of a metre: turning points rounds nothing.
T_WORLD_CAM = np.array(
    [[1.0, 0.0, 0.0, 0.03125], [0.0, 0.0, 1.0, -0.5], [0.0, -1.0, 0.0, 0.25], [0.0, 0.0, 0.0, 1.0]]
)


def view(index: int = 0) -> View:
    """A stored view with points at whole micrometres, in powers of two: no offset of whole metres rounds them."""
    stored = scene_record(index).views[0]
    points = (np.rint(stored.points * 2.0**20) / 2.0**20).astype(np.float32)
    blocks = [np.flatnonzero(stored.instance == i) for i in range(3)]
    order = np.concatenate([b[farthest_point_order_numpy(points[b], len(b))] for b in blocks])
    return replace(
        stored,
        points=points[order],
        rgb=stored.rgb[order],
        instance=stored.instance[order],
        T_world_cam=T_WORLD_CAM,
    )


def model(frame: str = "tabletop", colors: bool = False, plain: bool = False, **cloud: Any) -> GraspModel:
    generator = small_generator(
        encoder=small_encoder(use_color=colors),
        representation=PoseRepresentation(anchored=not plain, reference_depth=0.02, autoencoder=None),
    )
    generator.normalizer.frame = frame
    return GraspModel(generator=generator, cloud_settings=replace(PROCESSOR, **cloud).settings)


def sample(
    sampler: GraspModel, one: View, points: np.ndarray | None = None, **changes: Any
) -> tuple[Cloud, Any]:
    """Return what the encoder was given, and the grasps."""
    seen: list[Cloud] = []
    hook = sampler.generator.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    settings: dict[str, Any] = {
        "object_mask": one.instance == 1,
        "viewpoint": tuple(one.T_world_cam[:3, 3].tolist()),
        "up": (0.0, 0.0, 1.0),
        "seed": 0,
    }
    grasps = sampler.sample(one.points if points is None else points, 3, **{**settings, **changes})
    hook.remove()
    return seen[0], grasps


def item(one: View, colors: bool = False, T: np.ndarray | None = None, **cloud: Any) -> ItemCloud:
    processor = replace(PROCESSOR, **cloud)
    return build_cloud(one, 0, processor, np.random.default_rng(0), colors=colors, T_world_object=T)


def assert_same(seen: Cloud, expected: ItemCloud) -> None:
    """Bit for bit."""
    assert torch.equal(seen.points[0], torch.from_numpy(expected.scene_pc))
    assert torch.equal(seen.valid[0], torch.from_numpy(expected.point_valid))
    assert torch.equal(seen.target[0], torch.from_numpy(expected.object_mask))
    assert torch.equal(seen.viewpoint[0], torch.from_numpy(expected.viewpoint))
    assert torch.equal(seen.up[0], torch.from_numpy(expected.up))
    if expected.scene_rgb is None:
        assert seen.rgb is None
    else:
        assert seen.rgb is not None
        assert torch.equal(seen.rgb[0], torch.from_numpy(expected.scene_rgb).float() / 255.0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("index", range(4))
def test_sampling_sees_the_item_of_the_view(case: str, index: int) -> None:
    seen, _ = sample(model(**CASES[case]), view(index))
    expected = item(view(index), **CASES[case])
    assert_same(seen, expected)
    assert expected.point_valid.all() == (case != "padded")


def test_sampling_sees_the_colors_of_the_item() -> None:
    one = view()
    seen, _ = sample(model(colors=True), one, rgb=one.rgb)
    assert_same(seen, item(one, colors=True))


@pytest.mark.parametrize("offset", [(4.32e5, 5.61e6, 312.0), (-1e6, 1e5, 0.0)])
def test_a_cloud_in_map_coordinates_is_the_same_cloud(offset: tuple[float, float, float]) -> None:
    """Bit for bit, and the grasps come back in the map's coordinates to a fraction of a micrometre."""
    one, sampler = view(), model()
    _, here = sample(sampler, one)
    viewpoint = tuple((one.T_world_cam[:3, 3] + offset).tolist())
    seen, there = sample(sampler, one, one.points.astype(np.float64) + offset, viewpoint=viewpoint)
    assert_same(seen, item(one))
    assert there.hand_pose.dtype == np.float64
    assert_allclose(there.hand_pose[:, :3] - offset, here.hand_pose[:, :3], rtol=0, atol=1e-8)
    assert_allclose(there.hand_pose[:, 3:], here.hand_pose[:, 3:], rtol=0, atol=1e-12)


def test_an_offset_of_any_length_changes_rounding_alone() -> None:
    one, offset = view(), np.array([432107.37, 5612345.678, 312.91])
    viewpoint = tuple((one.T_world_cam[:3, 3] + offset).tolist())
    seen, _ = sample(model(), one, one.points.astype(np.float64) + offset, viewpoint=viewpoint)
    assert_allclose(seen.points[0].numpy(), item(one).scene_pc, rtol=0, atol=1e-7)
    assert_allclose(seen.viewpoint[0].numpy(), item(one).viewpoint, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("offset", "refused"), [(1e4, False), (2e4, True), (4e5, True)])
def test_coordinates_too_coarse_for_their_type_are_refused(offset: float, refused: bool) -> None:
    one = view()
    points = one.points + np.float32(offset)
    assert points.dtype == np.float32
    viewpoint = tuple((one.T_world_cam[:3, 3] + offset).tolist())
    if not refused:
        sample(model(), one, points, viewpoint=viewpoint)
        return
    with pytest.raises(
        ValueError,
        match=r"scene_pc is float32 with coordinates up to \d+ m, .* mm apart\. Pass it as float64",
    ):
        sample(model(), one, points, viewpoint=viewpoint)


def in_camera(one: View) -> dict[str, Any]:
    """The view as its camera gives it."""
    R, t = one.T_world_cam[:3, :3], one.T_world_cam[:3, 3]
    return {
        "points": (one.points - t) @ R,
        "viewpoint": (0.0, 0.0, 0.0),
        "up": tuple(R[2].tolist()),
    }


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("frame", CAMERA_MODES)
def test_a_model_of_the_cameras_frame_sees_the_item(frame: str, plain: bool) -> None:
    one = view()
    seen, _ = sample(model(frame, plain=plain), one, **in_camera(one))
    expected = item(one, frame=frame)
    if frame == "camera_centric":
        assert_same(seen, expected)
    else:  # the origin is a mean, which is rounded differently in another frame
        assert_allclose(seen.points[0].numpy(), expected.scene_pc, rtol=0, atol=1e-7)
        assert torch.equal(seen.target[0], torch.from_numpy(expected.object_mask))


def test_a_model_of_the_objects_frame_sees_the_item_where_it_is_given() -> None:
    one = view()
    T = np.eye(4)
    T[:3, 3] = [0.01, -0.02, 0.03]
    T[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
    seen, _ = sample(model("object_centric", plain=True), one, T_cloud_object=T)
    assert_same(seen, item(one, T=T, frame="object_centric"))
    with pytest.raises(ValueError, match="Pass T_cloud_object, the pose of the object"):
        sample(model("object_centric", plain=True), one)


@pytest.mark.parametrize("frame", MODES)
def test_a_model_that_reads_clouds_relative_to_themselves_takes_any_frame(frame: str) -> None:
    """The grasps on a cloud are those on the same cloud in the camera's coordinates."""
    one, sampler = on_a_surface(), model(frame)
    R, t = one.T_world_cam[:3, :3], one.T_world_cam[:3, 3]
    _, world = sample(sampler, one)
    _, camera = sample(sampler, one, **in_camera(one))
    expected = world.hand_pose[:, :3]
    found = camera.hand_pose[:, :3] @ R.T + t
    distance = np.linalg.norm(found[:, None] - expected[None], axis=-1)
    assert distance.min(0).max() < 1e-4 and distance.min(1).max() < 1e-4


def on_a_surface() -> View:
    """A view of a curved surface, of which two thirds are the target: rounding turns none of its normals."""
    one, rng = view(), np.random.default_rng(3)
    n = len(one.points)
    angle, height = rng.uniform(-1.2, 1.2, n), rng.uniform(0, 0.1, n)
    points = np.stack([0.04 * np.sin(angle), -0.04 * np.cos(angle), height], axis=1)
    instance = (np.arange(n) % 3 > 0).astype(np.uint8)
    return replace(one, points=points.astype(np.float32), instance=instance)


def test_instances_of_what_is_not_the_target_change_nothing() -> None:
    """A real camera does not tell table and neighbors apart."""
    one = view()
    merged = replace(one, instance=np.where(one.instance == 1, 1, 0).astype(np.uint8))
    first, second = item(one), item(merged)
    assert np.array_equal(first.scene_pc, second.scene_pc)
    assert not np.array_equal(first.point_class, second.point_class)


def test_restored_poses_are_those_of_the_cloud() -> None:
    """Against matrices, for a frame that is turned and moved."""
    one = view()
    given = in_camera(one)
    prepared = replace(PROCESSOR, frame="tabletop")(
        given["points"],
        one.instance == 1,
        viewpoint=np.zeros(3),
        up=np.array(given["up"]),
        rgb=None,
        rng=np.random.default_rng(0),
    )
    pose = np.zeros((2, 5, 23), dtype=np.float32)
    pose[..., -4:] = np.random.default_rng(1).normal(size=(2, 5, 4))
    pose[..., -4:] /= np.linalg.norm(pose[..., -4:], axis=-1, keepdims=True)
    pose[..., :3] = prepared.scene_pc[:5]
    restored = prepared.restore(pose)
    # The points that the poses stand on come back to where they were given.
    assert_allclose(restored[0, :, :3], given["points"][prepared.index[:5]], atol=1e-7)
    assert restored.dtype == np.float64
    found, before = (
        Rotation.from_quat(p[0, :, -4:], scalar_first=True).as_matrix() for p in (restored, pose)
    )
    assert_allclose(found, prepared.T_cloud_frame[:3, :3] @ before, atol=1e-6)
    assert_allclose(np.linalg.norm(restored[..., -4:], axis=-1), 1.0, atol=1e-12)
