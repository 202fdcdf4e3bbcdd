"""A right hand's model serves the left one: the same grasps as of the mirrored cloud, mirrored, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from factories.views import cloud, small_model
from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.models.clearance import observed_clearance
from sceneleapultra.models.mirrored import MirroredModel
from sceneleapultra.utils.requests import GraspRequest, Target

S = np.diag([1.0, -1.0, 1.0, 1.0])


def body_poses(hand, hand_pose):
    pose = GraspPose.from_hand_pose(torch.from_numpy(np.asarray(hand_pose, dtype=np.float64)))
    return hand.body_poses(pose).numpy()


def test_every_body_is_where_the_mirrored_cloud_puts_the_right_hand():
    model, left = small_model(), load_hand("leap_left", dtype=torch.float64)
    right = load_hand("leap_right", dtype=torch.float64)
    points, mask = cloud()
    request = GraspRequest.from_points(
        points, target=Target(mask=mask), up=(0, 0, 1), viewpoint=(0.5, 0.3, 0.5)
    )
    image = replace(
        request,
        points=request.points * [1, -1, 1],
        viewpoint=request.viewpoint * [1, -1, 1],
        up=request.up * [1, -1, 1],
        table=None,
    )
    fast = {"steps": 2}
    served = MirroredModel.of(model, load_hand("leap_left")).sample_request(request, 6, seed=3, sampling=fast)
    expected = model.sample_request(image, 6, seed=3, sampling=fast)
    assert served.hand == "leap_left" and served.joint_names == expected.joint_names
    for name in ("qpos", "score", "squeeze_qpos", "pregrasp_qpos"):
        np.testing.assert_array_equal(getattr(served, name), getattr(expected, name))
    T = body_poses(left, served.hand_pose)
    np.testing.assert_array_equal(T, S @ body_poses(right, expected.hand_pose) @ S)
    # Computed of the left hand and of the cloud as it is, not mirrored.
    clearance = observed_clearance(load_hand("leap_left"), served.hand_pose, request)
    np.testing.assert_allclose(served.clearance_m, clearance, atol=1e-6)


def test_another_hand_is_no_mirror_image():
    with pytest.raises(ValueError, match=r"'allegro_like' is not the mirror image of 'leap_right'"):
        MirroredModel.of(small_model(), load_hand("allegro_like"))


def test_a_batch_is_mirrored_like_each_request():
    points, mask = cloud()
    request = GraspRequest.from_points(
        points, target=Target(mask=mask), up=(0, 0, 1), viewpoint=(0.5, 0.3, 0.5)
    )
    model = MirroredModel.of(small_model(), load_hand("leap_left"))
    asked = {"prompts": [None, None], "negative_prompts": [(), ()], "sampling": {"steps": 2}}
    batch = model.sample_batch([request, request], 4, seeds=[3, 5], **asked)
    for made, seed in zip(batch, (3, 5), strict=True):
        one = model.sample_request(request, 4, seed=seed, sampling={"steps": 2})
        np.testing.assert_array_equal(made.hand_pose, one.hand_pose)
        assert made.hand == "leap_left"
