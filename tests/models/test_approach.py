"""Does a hand come by the first way that is free, as far as it was observed?"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from factories.views import small_model
from sceneleapultra.hands import load_hand
from sceneleapultra.models.approach import STANDOFF_M, choose_approaches
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.utils.requests import GraspRequest

HAND = load_hand("leap_right")
UP = np.array([0.0, 0.0, 1.0])


def turn_to(direction: np.ndarray) -> np.ndarray:
    """Return the quaternion (wxyz) that turns the palm to a direction."""
    return Rotation.align_vectors([direction], [HAND.palm_direction.numpy()])[0].as_quat(scalar_first=True)


def grasp(direction: np.ndarray, distance: float = 0.15) -> SampledGrasps:
    """A hand whose palm looks at the origin along a direction."""
    quat = turn_to(direction)
    qpos = HAND.joint_limits.clamp(-0.1, 0.1).mean(-1).numpy()[None]
    pose = np.concatenate([-distance * direction, qpos[0], quat])[None].astype(np.float64)
    made = empty_grasp()
    return replace(made, hand_pose=pose, pregrasp_qpos=qpos, squeeze_qpos=qpos)


def empty_grasp() -> SampledGrasps:
    one = np.zeros(1)
    return SampledGrasps(
        hand_pose=np.zeros((1, 23)),
        pregrasp_qpos=np.zeros((1, 16)),
        squeeze_qpos=np.zeros((1, 16)),
        score=one,
        p_stable=None,
        p_collision_free=None,
        clearance_m=one,
        joint_names=tuple(HAND.joint_names),
        hand=HAND.name,
        frame="map",
        nfe=1,
    )


def request(obstacle: np.ndarray | None = None) -> GraspRequest:
    rng = np.random.default_rng(0)
    target = 0.01 * rng.standard_normal((200, 3))
    points = target if obstacle is None else np.concatenate([target, obstacle])
    return GraspRequest(
        points=points, object_mask=np.arange(len(points)) < 200, viewpoint=np.array([0.5, 0.0, 0.5]), up=UP
    )


def wall(middle: np.ndarray, half: float) -> np.ndarray:
    """A block of points."""
    steps = np.linspace(-half, half, 13)
    return middle + np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)


def test_a_free_hand_comes_back_along_its_palm() -> None:
    sideways = np.array([1.0, 0.0, 0.0])
    found = choose_approaches(HAND, grasp(sideways), request())
    np.testing.assert_allclose(found.offset_m, [-STANDOFF_M * sideways], atol=1e-6)
    assert found.free.tolist() == [True]
    way = found.waypoints(grasp(sideways))
    np.testing.assert_allclose(way[0, :, :3], [[-0.15 - STANDOFF_M, 0, 0], [-0.15, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(way[0, 0, 3:], way[0, 1, 3:])


def test_what_stands_behind_the_hand_turns_its_way_up() -> None:
    sideways = np.array([1.0, 0.0, 0.0])
    behind = wall(np.array([-0.36, 0.0, -0.02]), 0.06)
    found = choose_approaches(HAND, grasp(sideways), request(behind))
    assert found.offset_m[0, 2] > 0.05 and found.free[0]


def test_a_hand_in_a_box_has_no_free_way() -> None:
    sideways = np.array([1.0, 0.0, 0.0])
    shell = np.concatenate([wall(np.array([-0.38, 0.0, 0.0]), 0.08), wall(np.array([-0.2, 0.0, 0.3]), 0.12)])
    found = choose_approaches(HAND, grasp(sideways), request(shell))
    assert not found.free[0] and np.linalg.norm(found.offset_m[0]) == pytest.approx(STANDOFF_M)


def test_the_way_moves_with_the_frame() -> None:
    """A map's coordinates change nothing."""
    sideways = np.array([1.0, 0.0, 0.0])
    behind = wall(np.array([-0.36, 0.0, -0.02]), 0.06)
    near, far = request(behind), request(behind)
    shift = np.array([4096.0, -512.0, 64.0])
    moved = replace(far, points=far.points + shift, viewpoint=far.viewpoint + shift)
    made = grasp(sideways)
    pose = made.hand_pose.copy()
    pose[:, :3] += shift
    here, there = (
        choose_approaches(HAND, made, near),
        choose_approaches(HAND, replace(made, hand_pose=pose), moved),
    )
    np.testing.assert_allclose(here.offset_m, there.offset_m, atol=1e-6)
    assert here.free.tolist() == there.free.tolist()


def test_requests_sampled_at_once_get_the_bits_of_each() -> None:
    model = small_model()
    rng = np.random.default_rng(2)
    one = request(0.15 * rng.standard_normal((200, 3)))
    two = replace(one, points=one.points + 0.01 * rng.standard_normal(one.points.shape))
    both = model.sample_batch([one, two], 3, seeds=[4, 5], prompts=[None, None], negative_prompts=[(), ()])
    for made, asked, seed in zip(both, (one, two), (4, 5), strict=True):
        np.testing.assert_array_equal(made.hand_pose, model.sample_request(asked, 3, seed=seed).hand_pose)
