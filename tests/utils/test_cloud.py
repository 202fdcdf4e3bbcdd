"""Does an arranged cloud hold its quotas, each point once, in an order whose every prefix is fair?"""

import numpy as np
import pytest

from sceneleapultra.utils.geometry.cloud.arrangement import quotas, select_points, within
from sceneleapultra.utils.geometry.point_choice import PointChoice
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy

SAMPLERS = ["farthest", "voxel", "hybrid"]


def choice(sampler: str) -> PointChoice:
    return PointChoice(sampler=sampler, cell_m=0.01, shares=(0.5, 0.25, 0.25), falloff_m=0.05)


def scene(num_target: int, num_rest: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A target about the origin in a plane of other points, some of them further away than 0.2 m."""
    rng = np.random.default_rng(seed)
    points = np.concatenate(
        [rng.normal(0, 0.02, size=(num_target, 3)), rng.uniform(-0.3, 0.3, size=(num_rest, 3))]
    )
    shuffled = rng.permutation(len(points))
    return points[shuffled], (np.arange(len(points)) < num_target)[shuffled]


def arranged(points: np.ndarray, mask: np.ndarray, sampler: str, num_points: int, seed: int = 0):
    return select_points(
        points,
        mask,
        num_points=num_points,
        target_share=0.6,
        crop_radius=0.2,
        choice=choice(sampler),
        rng=np.random.default_rng(seed),
    )


@pytest.mark.parametrize(
    ("num_target", "num_rest", "expected"),
    [
        (1000, 1000, (60, 40)),
        (30, 1000, (30, 70)),  # the rest fills the places of a small target
        (1000, 10, (90, 10)),  # and the target those of an empty table
        (30, 20, (30, 20)),  # a cloud short of points is short
        (1000, 0, (100, 0)),
    ],
)
def test_quotas_are_redistributed(num_target: int, num_rest: int, expected: tuple[int, int]):
    assert quotas(num_target, num_rest, 100, 0.6) == expected


@pytest.mark.parametrize(("num_points", "share"), [(0, 0.6), (100, 0.0), (100, 1.0), (100, 1.7)])
def test_quotas_that_cannot_be_are_refused(num_points: int, share: float):
    with pytest.raises(
        ValueError, match=r"(num_points: expected at least 1|target_share: expected between 0 and 1)"
    ):
        quotas(10, 10, num_points, share)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("num_target", "num_rest"), [(300, 900), (40, 900), (300, 20)])
def test_counts_are_exact_and_no_point_comes_twice(sampler: str, num_target: int, num_rest: int):
    points, mask = scene(num_target, num_rest)
    near = np.linalg.norm(points - points[mask].mean(0), axis=1) <= 0.2
    want_target, want_rest = quotas(num_target, int((near & ~mask).sum()), 200, 0.6)
    index, is_target = arranged(points, mask, sampler, 200)
    assert len(index) == len(set(index.tolist())) == want_target + want_rest
    assert is_target.sum() == want_target
    assert np.array_equal(mask[index], is_target)
    assert near[index[~is_target]].all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_prefix_is_fair_and_spread(sampler: str):
    points, mask = scene(400, 900)
    index, is_target = arranged(points, mask, sampler, 200)
    n = np.arange(1, 201)
    assert np.abs(np.cumsum(is_target) - 0.6 * n).max() <= 1.0
    for side in (is_target, ~is_target):
        ordered = points[index[side]]
        assert farthest_point_order_numpy(ordered, len(ordered)).tolist() == list(range(len(ordered)))


@pytest.mark.parametrize("sampler", ["voxel", "hybrid"])
def test_each_generator_draws_another_cloud(sampler: str):
    points, mask = scene(400, 900)
    one, again, other = (arranged(points, mask, sampler, 100, seed)[0].tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_a_cloud_without_its_target_is_refused():
    points, mask = scene(10, 50)
    with pytest.raises(
        ValueError, match="Expected points of the target in the cloud, got none among 60 points"
    ):
        arranged(points, np.zeros_like(mask), "farthest", 20)


def test_lengths_are_compared_as_their_roots_would_be():
    """Points at the radius, and up to eight representable numbers beside it: the same answer as the norm's."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(4000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    for radius in (0.2, 0.17, 1.0 / 3.0, 1e-3):
        offset = radius * direction * (1.0 + np.spacing(1.0) * rng.integers(-8, 9, (4000, 1)))
        expected = np.linalg.norm(offset, axis=-1) <= radius
        assert 0.2 < expected.mean() < 0.9
        assert np.array_equal(within(offset, np.zeros(3), radius), expected)
