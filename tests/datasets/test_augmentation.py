"""Do augmented items tell the same truth: the same hand at the same place of the same object?"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from records_under_test import SETTINGS, leap, scene_record

from datasets.augmentation import Augmentation, jitter, move_hand_pose, turn
from datasets.items import build_item
from hands import GraspPose


def item(augmentation: Augmentation | None = None) -> dict[str, np.ndarray]:
    record = scene_record(0)
    rng = np.random.default_rng(0)
    return build_item(record.views[0], 0, record.judged[0], SETTINGS, augmentation, rng)


def hand_to_cloud(values: dict[str, np.ndarray]) -> torch.Tensor:
    """Distance of every point to the surface of the hand, at every grasp."""
    pose = GraspPose.from_hand_pose(torch.from_numpy(values["hand_pose"].astype(np.float32)))
    return leap().signed_distance(torch.from_numpy(values["scene_pc"].astype(np.float32)), pose)


@pytest.mark.parametrize("yaw", [0.3, np.pi / 2, -2.5])
def test_hand_and_object_keep_their_distance(yaw):
    before, after = item(), turn(item(), yaw)
    assert np.abs(after["scene_pc"] - before["scene_pc"]).max() > 0.01
    torch.testing.assert_close(hand_to_cloud(after), hand_to_cloud(before), rtol=0, atol=2e-6)


def test_the_scene_stays_where_it_is_in_the_world():
    before, after = item(), turn(item(), 1.1)

    def world(values, name):
        T = values["T_world_frame"]
        return values[name] @ T[:3, :3].T + T[:3, 3]

    for name in ("scene_pc", "viewpoint"):
        assert_allclose(world(after, name), world(before, name), atol=1e-6)
    assert_allclose(
        move_hand_pose(after["hand_pose"], after["T_world_frame"])[:, :3],
        move_hand_pose(before["hand_pose"], before["T_world_frame"])[:, :3],
        atol=1e-6,
    )
    assert_array_equal(after["up"], [0, 0, 1])
    for name in ("pregrasp_qpos", "squeeze_qpos", "grasp_success", "object_mask", "point_valid"):
        assert_array_equal(after[name], before[name])


def test_turning_there_and_back_is_nothing():
    before, after = item(), turn(turn(item(), 0.7), -0.7)
    for name, value in before.items():
        assert_allclose(after[name], value, atol=1e-6)


def test_jitter_moves_points_by_its_deviation_and_nothing_else():
    before = item()
    before["point_valid"] = np.arange(100) < 80
    after = jitter(before, 0.002, np.random.default_rng(0))
    moved = after["scene_pc"] - before["scene_pc"]
    assert_array_equal(moved[80:], 0.0)
    assert moved[:80].std() == pytest.approx(0.002, rel=0.15)  # 240 numbers: 4.6 % standard error
    assert all(after[name] is before[name] for name in before if name != "scene_pc")


def test_items_are_augmented_jointly():
    """The hand keeps its distance to the cloud of the item that build_item augmented, up to the noise on points."""
    plain, augmented = item(), item(Augmentation(yaw=True, jitter_m=1e-4))
    assert_array_equal(plain["squeeze_qpos"], augmented["squeeze_qpos"])
    assert np.abs(plain["scene_pc"] - augmented["scene_pc"]).max() > 0.01
    difference = (hand_to_cloud(plain) - hand_to_cloud(augmented)).abs()
    assert 1e-5 < difference.mean() < 2e-4 and difference.max() < 1e-3


def test_yaw_covers_the_circle():
    yaws = []
    for seed in range(200):
        T = Augmentation(yaw=True, jitter_m=0.0)(item(), np.random.default_rng(seed))["T_world_frame"]
        yaws.append(np.arctan2(T[1, 0], T[0, 0]))
    assert np.histogram(yaws, bins=8, range=(-np.pi, np.pi))[0].min() > 8  # 25 expected, deviation 4.7


def test_switched_off_it_changes_nothing():
    before = item()
    after = Augmentation(yaw=False, jitter_m=0.0)(before, np.random.default_rng(0))
    assert all(after[name] is before[name] for name in before)
