"""Does a hand come by the first way that is free, as far as it was observed?"""

from dataclasses import replace

import numpy as np
import pytest

from factories.approaches import HAND, grasp, request
from factories.views import small_model
from sceneleapultra.models.approach import STANDOFF_M, choose_approaches


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
