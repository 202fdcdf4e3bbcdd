"""What a user gets: finite grasps with what is expected of them, warnings that travel, and sentences for numbers."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from factories.views import cloud, sample, small_model
from sceneleapultra.hands import GraspPose, Hand, load_hand
from sceneleapultra.models import GraspModel
from sceneleapultra.models.clearance import observed_clearance
from sceneleapultra.utils.requests import GraspRequest


@pytest.fixture
def model() -> GraspModel:
    return small_model()


def on_a_table(height: float) -> tuple[np.ndarray, np.ndarray]:
    """The curved surface standing on a table at a height."""
    points, mask = cloud()
    rng = np.random.default_rng(1)
    points[~mask] = np.c_[rng.uniform(-0.2, 0.2, (int((~mask).sum()), 2)), np.zeros(int((~mask).sum()))]
    return points + np.array([0.0, 0.0, height], np.float32), mask


@pytest.mark.untyped
@pytest.mark.parametrize("number", [0, -3, 4.0, True, "4", None])
def test_a_number_of_grasps_is_whole_and_at_least_one(model, number):
    with pytest.raises(ValueError, match=f"num_grasps: expected a whole number of at least 1, got {number}"):
        model.sample(cloud()[0], number, object_mask=cloud()[1], viewpoint=(1, 0, 1), up=(0, 0, 1), seed=0)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"up": (0, 0, 0)}, "up must point against gravity"),
        ({"up": (0, float("nan"), 1)}, "up: expected three finite numbers"),
        ({"up": (0, 1)}, "up: expected three finite numbers"),
        ({"viewpoint": (0, 0, float("nan"))}, "viewpoint: expected three finite numbers"),
        ({"sampling": {"steps": 4.0}}, "steps must be at least 1, got 4.0: it is a whole number"),
        ({"sampling": {"temperature": "cold"}}, "sampling.temperature: expected a number, got cold"),
        ({"sampling": {"squeeze_gain": float("nan")}}, "sampling.squeeze_gain: expected a number, got nan"),
    ],
)
def test_numbers_without_a_meaning_get_a_sentence(model, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        sample(model, *cloud(), **changes)


def test_points_that_are_none_are_left_out_with_their_mask(model):
    points, mask = cloud()
    spoiled = np.concatenate([points, np.full((40, 3), np.nan, np.float32), np.zeros((10, 3), np.float32)])
    one = sample(model, points, mask)
    two = sample(model, spoiled, np.concatenate([mask, np.ones(50, bool)]))
    np.testing.assert_array_equal(one.hand_pose, two.hand_pose)


def test_grasps_that_are_not_finite_are_not_returned(model):
    with torch.no_grad():
        model.generator.normalizer.mean.fill_(torch.nan)
    with pytest.raises(
        ValueError, match=r"The model made grasps that are not finite, with sampling.solver=ddim"
    ):
        sample(model, *cloud())


def test_grasps_say_what_the_model_expects_of_them(model):
    made = sample(model, *cloud())
    assert made.p_stable is not None and made.p_collision_free is not None
    odds = made.p_stable * made.p_collision_free
    assert_allclose(np.log(odds / (1 - odds)), made.score, atol=1e-4)
    assert made.frame == "cloud" and made.hand == "leap_right" and len(made.joint_names) == 16
    best = made.to_dict()["grasps"][0]
    assert json.loads(json.dumps(made.to_dict()))["grasps"][0] == best
    assert_allclose([*best["position"], *best["qpos"], *best["quat_wxyz"]], made.hand_pose[0], atol=0)
    assert_allclose(
        made.rotation @ made.rotation.transpose(0, 2, 1), np.tile(np.eye(3), (9, 1, 1)), atol=1e-6
    )
    low = made.p_success.max() < 0.5
    assert (made.expectation is not None) == low
    rare = dataclasses.replace(made, p_stable=np.full(9, 0.03), p_collision_free=np.ones(9))
    assert rare.expectation is not None and "expects none of these 9 grasps to hold" in rare.expectation
    assert "best 3 %" in rare.expectation
    sure = dataclasses.replace(made, p_stable=np.full(9, 0.9), p_collision_free=np.ones(9))
    assert sure.expectation is None


def test_clearance_is_the_distance_to_what_was_observed_beside_the_object():
    """Against the distance of every point of a table, for hands above it, in it and far away; in map coordinates, "
    "too."""
    points, mask = on_a_table(0.0)
    hand = load_hand("leap_right")
    poses = torch.zeros(12, 3 + hand.num_joints + 4, dtype=torch.float64)
    poses[:, :3] = torch.rand(12, 3, dtype=torch.float64) * 0.3 - 0.15
    poses[0, 2] = 2.0
    poses[:, 3:-4] = hand.rest_qpos
    poses[:, -4:] = torch.nn.functional.normalize(torch.randn(12, 4, dtype=torch.float64), dim=-1)
    double = Hand(hand.description, dtype=torch.float64)
    beside = torch.from_numpy(points[~mask].astype(np.float64))
    exact = double.signed_distance(beside, GraspPose.from_hand_pose(poses)).amin(-1).clamp(max=0.1)
    assert exact.min() < -0.005 and exact.max() == 0.1
    for offset in (np.zeros(3), np.array([431234.0, 5821234.0, 50.0])):
        up, eye = np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.0, 0.5])
        request = GraspRequest(points.astype(np.float64) + offset, mask, eye + offset, up)
        moved = poses.numpy().copy()
        moved[:, :3] += offset
        assert_allclose(observed_clearance(hand, moved, request), exact.numpy(), atol=1e-4)
    alone = GraspRequest(points[mask].astype(np.float64), np.ones(mask.sum(), bool), eye, up)
    assert (observed_clearance(hand, poses.numpy(), alone) == 0.1).all()


def test_odd_clouds_are_warned_of_and_the_warning_travels(model, caplog):
    points, mask = on_a_table(0.0)
    with caplog.at_level("WARNING"):
        made = sample(model, points, mask, viewpoint=(3.0, 0.0, 3.0))
    assert any("the camera's distance is 4.19 m" in text for text in made.warnings)
    assert all(text in caplog.text for text in made.warnings)
