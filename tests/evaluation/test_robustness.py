"""Does each error do to a view what it says, and are grasps brought back to the world where they should be?"""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.mask_image import MaskImage
from sceneleapultra.evaluation.methods.base import Proposal, unscored
from sceneleapultra.evaluation.robustness import (
    PerceptionError,
    WithError,
    WrongCalibration,
    WrongMask,
    WrongScale,
    WrongUp,
    project,
)
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import Grasps, SceneRecord, View

ALL = load_group("robustness", "all")


def look_at(eye: np.ndarray, at: np.ndarray) -> np.ndarray:
    z = (at - eye) / np.linalg.norm(at - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = eye
    return T


@pytest.fixture
def item(training_records: list[SceneRecord]) -> Item:
    """A box on a table under a camera with real intrinsics."""
    record = training_records[2]
    place = record.scene.T_world_object[0, :3, 3]
    view = replace(
        record.views[0],
        T_world_cam=look_at(place + np.array([0.4, -0.3, 0.4]), place),
        K=np.array([[350.0, 0.0, 199.5], [0.0, 350.0, 149.5], [0.0, 0.0, 1.0]]),
    )
    return Item(index=3, split="test", scene=record.scene, target=0, view=view)


@dataclass
class Centred:
    """Puts a hand at the middle of the points that it is shown, turned as the world is."""

    name: str = "centred"
    role: Role = Role.MODEL
    privileged_inputs: str = "none"

    def sample_items(self, items, k: int) -> list[Proposal]:
        def one(item: Item) -> Proposal:
            pose = np.concatenate([item.target_points.mean(axis=0), np.zeros(16), [1.0, 0.0, 0.0, 0.0]])
            return unscored(Grasps(np.tile(pose, (k, 1)), np.zeros((k, 16)), np.zeros((k, 16))))

        return [one(item) for item in items]


def seen(error: PerceptionError, item: Item) -> tuple[Item, np.ndarray]:
    return error.perceive(item, np.random.default_rng(0))


def made(error: PerceptionError, item: Item) -> Grasps:
    return WithError(Centred(), error, "error", seed=0, min_points=3).sample_items([item], 2)[0].grasps


@pytest.mark.parametrize("name", list(ALL))
def test_each_changes_what_is_seen_and_nothing_that_is_true(item: Item, name: str) -> None:
    error = build(ALL[name])
    other, T = seen(error, item)
    again, _ = seen(error, item)
    assert other.scene is item.scene and other.target == item.target
    assert np.array_equal(other.view.points, again.view.points), "the same draw gives the same"
    assert np.array_equal(other.view.instance, again.view.instance)
    same = other.view.points.shape == item.view.points.shape and np.array_equal(
        other.view.points, item.view.points
    )
    assert not (same and np.array_equal(other.view.instance, item.view.instance))
    assert np.allclose(T[3], [0, 0, 0, 1])
    assert other.view.points.dtype == item.view.points.dtype and other.view.instance.dtype == np.uint8
    assert len(other.view.points) == len(other.view.rgb) == len(other.view.instance)


def test_a_wrong_calibration_displaces_grasps_and_a_wrong_up_does_not(item: Item) -> None:
    true = Centred().sample_items([item], 2)[0].grasps.hand_pose
    off = made(WrongCalibration(shift_m=0.005, turn_deg=0.0), item).hand_pose
    assert np.linalg.norm(off[:, :3] - true[:, :3], axis=1) == pytest.approx(0.005, abs=1e-6)
    tilted = made(WrongUp(angle_deg=5.0), item).hand_pose
    # About the object's own middle: the hand comes back there, tilted by the angle.
    assert np.allclose(tilted[:, :3], true[:, :3], atol=1e-6)
    assert np.rad2deg(2 * np.arccos(np.abs(tilted[:, -4]))) == pytest.approx(5.0, abs=1e-3)


def test_a_turned_camera_displaces_by_distance_times_angle(item: Item) -> None:
    distance = np.linalg.norm(item.target_points - item.view.T_world_cam[:3, 3], axis=1)
    for seed in range(5):
        other, _ = WrongCalibration(shift_m=0.0, turn_deg=2.0).perceive(item, np.random.default_rng(seed))
        moved = np.linalg.norm(other.target_points - item.target_points, axis=1)
        assert (moved <= distance * np.deg2rad(2.0) + 1e-5).all()
        assert np.allclose(project(other.view), project(item.view), atol=0.01), "the image is what it was"


def test_a_wrong_scale_changes_lengths_and_not_the_image(item: Item) -> None:
    other, _ = seen(WrongScale(factor=1.03), item)
    assert np.allclose(project(other.view), project(item.view), atol=0.01)
    extents = [np.ptp(i.target_points, axis=0) for i in (item, other)]
    assert extents[1] / extents[0] == pytest.approx(1.03, abs=1e-3)


def disc_view(radius_px: float) -> View:
    """A disc of the target on a plane before a camera of unit focal length, on a grid of two pixels."""
    u, v = np.meshgrid(np.arange(0, 201, 2.0), np.arange(0, 201, 2.0))
    points = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3).astype(np.float32)
    instance = (np.hypot(points[:, 0] - 100, points[:, 1] - 100) <= radius_px).astype(np.uint8)
    return View(np.eye(4), np.eye(3), points, np.zeros((len(points), 3), np.uint8), instance)


@pytest.mark.parametrize("grown", [-8.0, 0.0, 8.0])
def test_a_disc_grows_and_shrinks_by_pixels(grown: float) -> None:
    view = disc_view(40.0)
    uv = project(view)
    mask = MaskImage.of_points(uv, view.instance == 1).grown(grown).at(uv)
    radius = np.hypot(*(uv[mask] - 100).T).max()
    assert radius == pytest.approx(40.0 + grown, abs=2.5)
    assert mask.sum() == pytest.approx(np.pi * (40.0 + grown) ** 2 / 4, rel=0.1)


def test_a_moved_mask_is_moved_by_pixels(item: Item) -> None:
    item = replace(item, view=disc_view(40.0))
    other, _ = seen(WrongMask(grown_px=0.0, moved_px=10.0), item)
    centers = [project(i.view)[i.target_mask].mean(axis=0) for i in (item, other)]
    assert np.linalg.norm(centers[1] - centers[0]) == pytest.approx(10.0, abs=1.0)


def test_an_item_whose_target_is_nearly_gone_is_not_asked_for(item: Item) -> None:
    error = WrongMask(grown_px=-30.0, moved_px=0.0)
    big = replace(item, index=4, view=disc_view(60.0))
    small = replace(item, index=5, view=disc_view(28.0))
    method = WithError(Centred(), error, "mask_eroded", seed=0, min_points=3)
    assert [len(p.grasps) for p in method.sample_items([small, big], 2)] == [0, 2]
    with pytest.raises(ValueError, match=r"robustness.mask_eroded leaves no item 3 points"):
        method.sample_items([small], 2)
