"""Are grasps drawn without repetition, by their seed, and spread where that is asked for?"""

from typing import get_args

import numpy as np
import pytest

from datasets.grasp_sampling import GraspDistance, Strategy, choose_grasps

DISTANCE = GraspDistance(translation_m=0.05, rotation_rad=1.0, joints_rad=0.5)


def poses(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    quat = rng.normal(size=(n, 4))
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    return np.concatenate([0.1 * rng.normal(size=(n, 3)), rng.normal(size=(n, 16)), quat], axis=1)


def choose(pose: np.ndarray, count: int, strategy: Strategy, seed: int = 0) -> list[int]:
    return choose_grasps(pose, count, strategy, DISTANCE, np.random.default_rng(seed)).tolist()


@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize(("num", "count"), [(40, 12), (12, 12), (5, 12), (1, 3), (0, 3)])
def test_rows_are_different_and_as_many_as_there_are(strategy, num, count):
    rows = choose(poses(num), count, strategy)
    assert len(rows) == len(set(rows)) == min(num, count)
    assert set(rows) <= set(range(num))


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_the_seed_decides(strategy):
    pose = poses(40)
    assert choose(pose, 12, strategy, 3) == choose(pose, 12, strategy, 3)
    assert choose(pose, 12, strategy, 3) != choose(pose, 12, strategy, 4)


def test_random_takes_every_grasp_equally_often():
    """Of 10 grasps 4 are taken 2000 times: each 800 times, standard deviation sqrt(2000 * 0.4 * 0.6) = 22."""
    rng = np.random.default_rng(0)
    rows = [choose_grasps(poses(10), 4, "random", DISTANCE, rng) for _ in range(2000)]
    assert np.abs(np.bincount(np.concatenate(rows)) - 800).max() < 5 * 22


def test_farthest_point_takes_the_farthest_each_time():
    pose = poses(30)
    rows = choose(pose, 8, "farthest_point")
    for k in range(1, 8):
        to_taken = np.min([DISTANCE(pose[r], pose) for r in rows[:k]], axis=0)
        assert to_taken[rows[k]] == pytest.approx(to_taken.max())


def test_farthest_point_takes_one_of_each_cluster_before_a_second():
    centres = poses(6)
    centres[:, :3] = np.eye(6)[:, :3] + np.eye(6)[:, 3:] * 2  # far apart
    crowd = np.repeat(centres, [30, 1, 1, 1, 1, 1], axis=0)
    crowd[:, :3] += 1e-4 * np.random.default_rng(1).normal(size=(35, 3))
    cluster = np.repeat(np.arange(6), [30, 1, 1, 1, 1, 1])
    assert sorted(cluster[choose(crowd, 6, "farthest_point")]) == list(range(6))
    assert len(set(cluster[choose(crowd, 6, "random")])) < 6


def test_identical_grasps_are_still_different_rows():
    assert sorted(choose(np.repeat(poses(1), 5, axis=0), 5, "farthest_point")) == list(range(5))


def test_distance_adds_translation_rotation_and_joints():
    """5 cm, a turn of 0.6 rad and 0.25 rad in every joint: sqrt(1 + 0.36 + 0.25)."""
    one = np.zeros(23)
    one[-4] = 1.0
    other = one.copy()
    other[0], other[3:19] = 0.05, 0.25
    other[-4:] = [np.cos(0.3), 0.0, np.sin(0.3), 0.0]
    for sign in (1.0, -1.0):  # both signs of a quaternion are one rotation
        signed = np.concatenate([other[:-4], sign * other[-4:]])
        np.testing.assert_allclose(DISTANCE(one, signed[None]), [np.sqrt(1 + 0.36 + 0.25)])


@pytest.mark.untyped
def test_unknown_strategy_names_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown data\.grasp_strategy 'randm'\. Did you mean 'random'\?"):
        choose_grasps(poses(3), 2, "randm", DISTANCE, np.random.default_rng(0))
