"""Are exactly as many points chosen as asked for, none twice, in farthest-point order, with the right preferences?"""

import numpy as np
import pytest
from scipy.stats import chisquare

from sceneleapultra.utils.geometry.point_choice import PointChoice, by_voxel, mixture
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy

SETTINGS = {"cell_m": 0.01, "shares": (0.5, 0.25, 0.25), "falloff_m": 0.02}
SAMPLERS = ["farthest", "voxel", "hybrid"]
ORIGIN = np.zeros(3)


def choice(sampler: str, **changes) -> PointChoice:
    return PointChoice(**{"sampler": sampler, **SETTINGS, **changes})


def cloud(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.02, size=(n, 3)).astype(np.float32)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("k", [0, 1, 2, 99, 499, 500])
def test_exactly_k_points_and_none_twice(sampler: str, k: int):
    chosen = choice(sampler)(cloud(500), k, ORIGIN, generator())
    assert len(chosen) == k == len(set(chosen.tolist()))
    assert all(0 <= i < 500 for i in chosen)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_prefix_is_a_farthest_point_sample_of_the_chosen(sampler: str):
    points = cloud(500)
    ordered = points[choice(sampler)(points, 200, ORIGIN, generator())]
    assert farthest_point_order_numpy(ordered, 200).tolist() == list(range(200))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_generator_decides_alone(sampler: str):
    points = cloud(500)
    one, again, other = (choice(sampler)(points, 100, ORIGIN, generator(s)).tolist() for s in (1, 1, 2))
    assert one == again
    assert (one != other) == (sampler != "farthest")


def test_farthest_takes_the_farthest():
    points = cloud(300)
    chosen = choice("farthest")(points, 50, ORIGIN, generator())
    assert chosen.tolist() == farthest_point_order_numpy(points, 50).tolist()


def test_voxels_take_turns():
    """Of three voxels with 1, 2 and 100 points: 3 points are one of each, 5 are (1, 2, 2), 20 are (1, 2, 17)."""
    rng = generator()
    voxel = np.repeat([0, 1, 2], [1, 2, 100])
    points = rng.uniform(0.001, 0.009, size=(103, 3))
    points[:, 0] += 0.02 * voxel
    for k, expected in [(3, [1, 1, 1]), (5, [1, 2, 2]), (20, [1, 2, 17])]:
        chosen = by_voxel(points, k, 0.01, generator(k))
        assert np.bincount(voxel[chosen], minlength=3).tolist() == expected


def test_where_voxels_are_more_than_places_chance_decides():
    points = np.stack([np.arange(20) * 0.02 + 0.005, *np.full((2, 20), 0.005)], axis=1)
    counts = np.bincount(np.concatenate([by_voxel(points, 5, 0.01, generator(s)) for s in range(800)]))
    assert counts.sum() == 4000
    # Without replacement the counts spread less than a multinomial's.
    assert chisquare(counts).statistic < 45.0  # 19 degrees of freedom: mean 19, standard deviation 6


def test_a_mixture_of_one_kind_is_that_kind():
    points = cloud(200)
    log_weight = -np.linalg.norm(points, axis=1) / 1e-5  # so steep that no noise changes the order
    far = mixture(points, 40, (1.0, 0.0, 0.0), log_weight, generator(3))
    assert far.tolist() == farthest_point_order_numpy(points, 40, int(far[0])).tolist()
    important = mixture(points, 40, (0.0, 0.0, 1.0), log_weight, generator(3))
    assert set(important.tolist()) == set(np.argsort(-log_weight)[:40].tolist())
    at_random = mixture(points, 40, (0.0, 1.0, 0.0), log_weight, generator(3))
    assert len(set(at_random.tolist()) & set(important.tolist())) < 20


def test_shares_of_a_mixture_are_kept_without_duplicates():
    """60 of 200: 30 farthest, 15 nearest the center of those left, 15 of what is left then."""
    points = cloud(200)
    log_weight = -np.linalg.norm(points, axis=1) / 1e-5
    chosen = mixture(points, 60, (0.5, 0.25, 0.25), log_weight, generator(5))
    far = farthest_point_order_numpy(points, 30, int(chosen[0]))
    assert chosen[:30].tolist() == far.tolist()
    left = [i for i in np.argsort(-log_weight).tolist() if i not in set(far.tolist())]
    assert set(chosen[30:45].tolist()) == set(left[:15])
    assert len(set(chosen.tolist())) == 60


def test_important_points_are_drawn_in_proportion_to_their_weight():
    """One draw of four points with weights 1 : 2 : 3 : 4."""
    log_weight = np.log([1.0, 2.0, 3.0, 4.0])
    points, rng = cloud(4), generator()
    drawn = [mixture(points, 1, (0.0, 0.0, 1.0), log_weight, rng)[0] for _ in range(1000)]
    assert chisquare(np.bincount(drawn, minlength=4), [100, 200, 300, 400]).pvalue > 1e-3


def test_the_second_important_point_is_drawn_from_what_is_left():
    """Weights 1 : 2 : 3, two of three without replacement: P(3 left out) = 1/6 * 2/5 + 2/6 * 1/4 = 3/20."""
    log_weight = np.log([1.0, 2.0, 3.0])
    points, rng = cloud(3), generator()
    drawn = [set(mixture(points, 2, (0.0, 0.0, 1.0), log_weight, rng).tolist()) for _ in range(1200)]
    without = [sum(i not in pair for pair in drawn) for i in range(3)]
    # P(1 left out) = 2/6 * 3/4 + 3/6 * 2/3 = 7/12, P(2 left out) = 1/6 * 3/5 + 3/6 * 1/3 = 4/15.
    assert chisquare(without, [700, 320, 180]).pvalue > 1e-3


def test_ten_thousand_points():
    points = cloud(12000)
    chosen = choice("voxel", cell_m=0.002)(points, 10000, ORIGIN, generator())
    assert len(set(chosen.tolist())) == 10000


@pytest.mark.parametrize("k", [-1, 11])
def test_more_points_than_there_are_are_refused(k: int):
    with pytest.raises(ValueError, match=rf"Expected to choose 0 to 10 points .* got k={k}"):
        choice("voxel")(cloud(10), k, ORIGIN, generator())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"sampler": "voxle"},
            "Unknown point sampler 'voxle'. Did you mean 'voxel'? Available: farthest, hybrid, voxel.",
        ),
        ({"cell_m": 0.0}, "data.cloud.points.cell_m: expected more than 0 m, got 0.0."),
        ({"falloff_m": -1.0}, "data.cloud.points.falloff_m: expected more than 0 m, got -1.0."),
        (
            {"shares": (0.5, 0.5, 0.5)},
            "data.cloud.points.shares: expected three shares of at least 0 that add up to 1 (farthest, random, "
            "important), got [0.5, 0.5, 0.5].",
        ),
        (
            {"shares": (1.5, -0.5, 0.0)},
            "data.cloud.points.shares: expected three shares of at least 0 that add up to 1 (farthest, random, "
            "important), got [1.5, -0.5, 0.0].",
        ),
    ],
)
def test_settings_that_cannot_be_are_named(changes: dict, sentence: str):
    with pytest.raises(ValueError) as caught:
        choice(**{"sampler": "voxel", **changes})
    assert str(caught.value) == sentence
