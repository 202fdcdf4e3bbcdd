"""A model of one hand serves another: what its answers hold, in any frame, alone and in a batch."""

from dataclasses import replace

import numpy as np
import pytest

from factories.views import cloud, small_model
from sceneleapultra.hands import load_hand
from sceneleapultra.models.clearance import observed_clearance
from sceneleapultra.models.many_hands import served
from sceneleapultra.models.mirrored import MirroredModel
from sceneleapultra.models.retargeted import RetargetedModel
from sceneleapultra.utils.requests import GraspRequest, Target

FAST = {"steps": 2}


def request():
    points, mask = cloud()
    return GraspRequest.from_points(points, target=Target(mask=mask), up=(0, 0, 1), viewpoint=(0.5, 0.3, 0.5))


def test_answers_are_of_the_other_hand_best_first():
    model, asked = small_model(), request()
    hand = load_hand("allegro_like")
    made = served(model, "allegro_like", retarget=True).sample_request(asked, 4, seed=3, sampling=FAST)
    assert made.hand == "allegro_like" and made.joint_names == tuple(hand.joint_names)
    low, high = hand.joint_limits.numpy().T
    for qpos in (made.qpos, made.pregrasp_qpos, made.squeeze_qpos):
        assert qpos.shape == (4, hand.num_joints) and (qpos >= low).all() and (qpos <= high).all()
    assert (np.diff(made.score) <= 0).all() and made.p_success is None
    np.testing.assert_allclose(made.clearance_m, observed_clearance(hand, made.hand_pose, asked), atol=1e-6)


def test_the_score_is_lowered_by_what_fingertips_are_off():
    model, asked = small_model(), request()
    own = model.sample_request(asked, 4, seed=3, sampling=FAST)
    made = RetargetedModel.of(model, load_hand("allegro_like")).sample_request(
        asked, 4, seed=3, sampling=FAST
    )
    assert (np.sort(made.score) < np.sort(own.score)).all()


def test_a_batch_is_what_each_request_gets():
    asked = request()
    model = RetargetedModel.of(small_model(), load_hand("parallel_gripper"))
    settings = {"prompts": [None, None], "negative_prompts": [(), ()], "sampling": FAST}
    batch = model.sample_batch([asked, asked], 3, seeds=[3, 5], **settings)
    for made, seed in zip(batch, (3, 5), strict=True):
        one = model.sample_request(asked, 3, seed=seed, sampling=FAST)
        np.testing.assert_array_equal(made.hand_pose, one.hand_pose)
        np.testing.assert_array_equal(made.score, one.score)


def test_a_cloud_in_a_map_gets_the_grasps_of_the_cloud_at_the_origin():
    asked = request()
    far = np.array([4000.0, -2500.0, 120.0])
    moved = replace(asked, points=asked.points + far, viewpoint=asked.viewpoint + far, table=None)
    model = RetargetedModel.of(small_model(), load_hand("parallel_gripper"))
    here = model.sample_request(asked, 2, seed=0, sampling=FAST)
    there = model.sample_request(moved, 2, seed=0, sampling=FAST)
    np.testing.assert_allclose(there.hand_pose[:, :3] - far, here.hand_pose[:, :3], atol=2e-3)


def test_an_exact_mirror_image_is_mirrored():
    assert type(served(small_model(), "leap_left", retarget=True)) is MirroredModel


def test_what_cannot_be_carried_over_is_refused():
    with pytest.raises(ValueError, match=r"take over the grasps of 'leap_right' \(--retarget"):
        served(small_model(), "allegro_like")
    model = RetargetedModel.of(small_model(), load_hand("allegro_like"))
    with pytest.raises(ValueError, match="ask for no trajectory"):
        model.sample_request(request(), 2, sampling=FAST, trajectory=True)
    with pytest.raises(ValueError, match="needs a score head"):
        model.sample_any(request(), 2)
