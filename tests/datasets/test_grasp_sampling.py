"""Are grasps drawn without repetition, by their seed, and spread where that is asked for?"""

from typing import get_args

import numpy as np
import pytest

from sceneleapultra.datasets.items.grasp_sampling import GraspChoice, GraspDistance, Partition, Strategy

DISTANCE = GraspDistance(translation_m=0.05, rotation_rad=1.0, joints_rad=0.5)


def poses(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    quat = rng.normal(size=(n, 4))
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    return np.concatenate([0.1 * rng.normal(size=(n, 3)), rng.normal(size=(n, 16)), quat], axis=1)


STRATEGIES = get_args(Strategy)
SETTINGS = {
    "number": 4,
    "failures": 0,
    "strategy": "random",
    "partition": None,
    "shares": (0.5, 0.25, 0.25),
    "distance": DISTANCE,
    "min_robustness": 0.0,
    "min_clearance_m": 0.0,
}


def chosen(strategy: str = "random", partition: str | None = None, number: int = 4) -> GraspChoice:
    return GraspChoice(**SETTINGS | {"strategy": strategy, "partition": partition, "number": number})


def choose(pose: np.ndarray, count: int, strategy: str, seed: int = 0) -> list[int]:
    quality = np.random.default_rng(5).uniform(size=len(pose))
    return (
        chosen(strategy)
        .draw(pose, quality, np.arange(len(pose)), count, np.random.default_rng(seed))
        .tolist()
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("num", "count"), [(40, 12), (12, 12), (5, 12), (1, 3), (0, 3)])
def test_rows_are_different_and_as_many_as_there_are(strategy, num, count):
    rows = choose(poses(num), count, strategy)
    assert len(rows) == len(set(rows)) == min(num, count)
    assert set(rows) <= set(range(num))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_seed_decides(strategy):
    pose = poses(40)
    assert choose(pose, 12, strategy, 3) == choose(pose, 12, strategy, 3)
    assert choose(pose, 12, strategy, 3) != choose(pose, 12, strategy, 4)


def test_random_takes_every_grasp_equally_often():
    """Of 10 grasps 4 are taken 2000 times: each 800 times, standard deviation sqrt(2000 * 0.4 * 0.6) = 22."""
    rng = np.random.default_rng(0)
    rows = [chosen().draw(poses(10), np.ones(10), np.arange(10), 4, rng) for _ in range(2000)]
    assert np.abs(np.bincount(np.concatenate(rows)) - 800).max() < 5 * 22


def test_farthest_point_takes_the_farthest_each_time():
    pose = poses(30)
    rows = choose(pose, 8, "farthest_point")
    for k in range(1, 8):
        to_taken = np.min([DISTANCE(pose[r], pose) for r in rows[:k]], axis=0)
        assert to_taken[rows[k]] == pytest.approx(to_taken.max())


def test_farthest_point_takes_one_of_each_cluster_before_a_second():
    centers = poses(6)
    centers[:, :3] = np.eye(6)[:, :3] + np.eye(6)[:, 3:] * 2  # far apart
    crowd = np.repeat(centers, [30, 1, 1, 1, 1, 1], axis=0)
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


def test_strata_of_quality_are_equally_full():
    """40 grasps with known quality in quarters of ten and 10 unknown: of 15 drawn three are of each of the five."""
    quality = np.concatenate([np.linspace(0, 1, 40) ** 4, np.full(10, np.nan)])
    stratum = np.repeat(np.arange(5), 10)
    for seed in range(5):
        rows = chosen("quality_stratified").draw(
            poses(50), quality, np.arange(50), 15, np.random.default_rng(seed)
        )
        assert np.bincount(stratum[rows]).tolist() == [3] * 5


def test_a_mixture_holds_its_shares():
    """Half of 12 the farthest of each other, a quarter the better ones: 20 of 40 are worth 99 times the others."""
    pose, quality = poses(40), np.repeat([0.01, 0.99], 20)
    best = 0
    for seed in range(20):
        rows = chosen("hybrid").draw(pose, quality, np.arange(40), 12, np.random.default_rng(seed)).tolist()
        start = int(np.random.default_rng(seed).integers(40))
        assert rows[0] == start
        for k in range(1, 6):
            to_taken = np.min([DISTANCE(pose[r], pose) for r in rows[:k]], axis=0)
            assert to_taken[rows[k]] == pytest.approx(to_taken.max())
        best += sum(row >= 20 for row in rows[6:9])
    assert best >= 55, "of 60 places about 59 go to the better half"


@pytest.mark.parametrize("partition", get_args(Partition))
@pytest.mark.parametrize("num", [1, 4, 10, 13])
def test_chunks_hold_every_grasp_once(partition, num):
    choice = chosen(partition=partition)
    order = choice.order(poses(num), np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(num))
    assert choice.num_chunks(num) == -(-num // 4)


def test_chunks_are_made_as_their_names_say():
    pose = poses(10)
    rng = np.random.default_rng(0)
    assert chosen(partition="sequential").order(pose, rng).tolist() == list(range(10))
    # Three chunks of 4, 4 and 2 places, filled in turn; the last is full after two rounds.
    interleaved = chosen(partition="interleaved").order(pose, rng).tolist()
    assert interleaved == [0, 3, 6, 8, 1, 4, 7, 9, 2, 5]
    near = chosen(partition="nearest_point").order(pose, rng)
    assert sorted(near[:4].tolist()) == sorted(np.argsort(DISTANCE(pose[0], pose))[:4].tolist())
    assert chosen(partition="random").order(pose, rng).tolist() != list(range(10))


def test_farthest_chunks_hold_one_of_each_cluster():
    """Eight clusters of eight, far apart: each chunk of eight is spread over all of them."""
    pose, cluster = clusters()
    chunks = cluster[
        chosen(partition="farthest_point", number=8).order(pose, np.random.default_rng(0))
    ].reshape(8, 8)
    assert (np.sort(chunks, axis=1) == np.arange(8)).all()


def test_nearest_chunks_hold_one_cluster():
    pose, cluster = clusters()
    chunks = cluster[
        chosen(partition="nearest_point", number=8).order(pose, np.random.default_rng(0))
    ].reshape(8, 8)
    assert (chunks == chunks[:, :1]).all() and sorted(chunks[:, 0]) == list(range(8))


def clusters() -> tuple[np.ndarray, np.ndarray]:
    centers = poses(8)
    centers[:, :3] = 3.0 * np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    cluster = np.random.default_rng(0).permutation(np.repeat(np.arange(8), 8))
    pose = centers[cluster]
    pose[:, :3] += 1e-3 * np.random.default_rng(1).normal(size=(64, 3))
    return pose, cluster


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": "randm"}, "Unknown data.grasps.strategy 'randm'. Did you mean 'random'?"),
        ({"partition": "interleave"}, "Unknown data.grasps.partition 'interleave'. Did you mean 'interleaved'?"),
        ({"shares": (0.5, 0.5, 0.5)}, "data.grasps.shares: expected three shares of at least 0 that add up to 1"),
        ({"shares": (1.5, -0.5, 0.0)}, "data.grasps.shares: expected three shares of at least 0 that add up to 1"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_answered(changes, sentence):
    with pytest.raises(ValueError) as caught:
        GraspChoice(**(SETTINGS | changes))
    assert str(caught.value).startswith(sentence)
