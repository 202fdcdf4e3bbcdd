"""Does every cell keep exactly what it should, any point as likely as another, whoever computes it?"""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from sceneleapultra.utils.geometry.grid_numpy import (
    cell_shares,
    cells_numpy,
    grid_subsample_numpy,
    kept_numpy,
    places_numpy,
)
from sceneleapultra.utils.geometry.grid_sampling import cells, kept

CELL = 0.01
RATIO = (0.3, 0.7)


def cloud(n: int = 3000, seed: int = 0) -> np.ndarray:
    """Points of very different density: most cells hold few, some hold dozens; on both sides of the origin."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(-0.06, 0.06, size=(n // 2, 3)), rng.normal(0.0, 0.008, size=(n - n // 2, 3))]
    ).astype(np.float32)


def members(points: np.ndarray) -> dict[tuple[int, int, int], list[int]]:
    """The points of each cell, by its definition and a loop."""
    found: dict[tuple[int, int, int], list[int]] = {}
    for i, place in enumerate(np.floor(points / np.float32(CELL)).astype(int).tolist()):
        found.setdefault(tuple(place), []).append(i)
    return found


def subsample(points: np.ndarray, scenario: str, seed: int = 1, **changes) -> np.ndarray:
    settings = {"cell_m": CELL, "ratio": RATIO, **changes}
    return grid_subsample_numpy(points, scenario=scenario, rng=np.random.default_rng(seed), **settings)


def test_cells_are_those_of_the_definition():
    points = cloud()
    numbers = cells_numpy(points, CELL)
    for group in members(points).values():
        assert len(set(numbers[group])) == 1
    assert len(set(numbers)) == len(members(points)) > 500


def test_full_keeps_all_and_single_one_of_each_cell():
    points = cloud()
    assert subsample(points, "full").tolist() == list(range(len(points)))
    chosen = set(subsample(points, "single").tolist())
    assert [len(chosen & set(group)) for group in members(points).values()] == [1] * len(members(points))


def test_half_keeps_a_share_of_each_cell_exactly():
    """With a range of one value the count of every cell is known: ceil(0.4 c)."""
    points = cloud()
    chosen = subsample(points, "half", ratio=(0.4, 0.4))
    assert len(set(chosen.tolist())) == len(chosen)
    for group in members(points).values():
        assert len(set(group) & set(chosen.tolist())) == int(np.ceil(np.float32(0.4) * len(group)))


def test_half_draws_a_share_for_each_cell():
    points = cloud(6000)
    chosen = set(subsample(points, "half").tolist())
    shares = []
    for group in members(points).values():
        count, n = len(chosen & set(group)), len(group)
        assert np.ceil(0.3 * n - 1e-6) <= count <= np.ceil(0.7 * n + 1e-6)
        if n > 30:
            shares.append(count / n)
    assert len(shares) > 15 and np.std(shares) > 0.05, "the shares of crowded cells differ"


@pytest.mark.parametrize("scenario", ["half", "single"])
def test_every_point_of_a_cell_is_as_likely_as_another(scenario: str):
    """40 points, one cell, 2000 draws; the least of two p-values is below 1e-3 twice in a thousand samplers."""
    points = np.random.default_rng(0).uniform(0.001, 0.009, size=(40, 3)).astype(np.float32)
    counts: Counter[int] = Counter()
    for seed in range(2000):
        counts.update(subsample(points, scenario, seed=seed).tolist())
    frequencies = [counts[i] for i in range(40)]
    if scenario == "single":
        assert chisquare(frequencies).pvalue > 1e-3
    # In `half` a draw keeps about half of the points without replacement: less spread than a multinomial has.
    assert chisquare(frequencies).statistic < 80.0  # 39 degrees of freedom: mean 39, standard deviation 9
    assert min(frequencies) > 0


def test_cells_of_equal_size_are_drawn_independently():
    """Two cells of three points each, in the same order: which one is left of each must not be the same one."""
    first = np.array([[0.001, 0, 0], [0.002, 0, 0], [0.003, 0, 0]], np.float32)
    points = np.concatenate([first, first + np.float32(0.05)])
    pairs = Counter(tuple(subsample(points, "single", seed=s).tolist()) for s in range(900))
    assert len(pairs) == 9
    assert chisquare(list(pairs.values())).pvalue > 1e-3


def test_the_generator_decides_alone():
    points = cloud()
    assert subsample(points, "half", seed=3).tolist() == subsample(points, "half", seed=3).tolist()
    assert subsample(points, "half", seed=3).tolist() != subsample(points, "half", seed=4).tolist()


@pytest.mark.parametrize("shares", [(1.0, 1.0), (0.3, 0.7), (0.0, 0.0)])
def test_torch_keeps_the_same_points_whatever_else_is_in_the_batch(shares: tuple[float, float]):
    clouds = [cloud(800, seed) for seed in range(3)]
    rng = np.random.default_rng(2)
    order = np.stack([rng.permutation(800) for _ in clouds])
    uniform = rng.random((3, 800), dtype=np.float32)
    expected = np.stack(
        [
            kept_numpy(cells_numpy(c, CELL), o, u, shares)
            for c, o, u in zip(clouds, order, uniform, strict=True)
        ]
    )
    cell = cells(torch.from_numpy(np.stack(clouds)), CELL)
    everyone = torch.ones(3, 800, dtype=torch.bool)
    ranges = torch.tensor([shares] * 3)
    mask = kept(cell, everyone, torch.from_numpy(order), torch.from_numpy(uniform), ranges)
    assert np.array_equal(mask.numpy(), expected)
    alone = kept(cell[1:2], everyone[1:2], *(torch.from_numpy(x[1:2]) for x in (order, uniform)), ranges[1:2])
    assert torch.equal(alone[0], mask[1])


def test_each_cloud_of_a_batch_has_its_own_shares_and_padding_stays_out():
    points = torch.from_numpy(cloud(600)).expand(3, 600, 3)
    valid = torch.ones(3, 600, dtype=torch.bool)
    valid[:, 400:] = False
    order = torch.stack([torch.randperm(600) for _ in range(3)])
    shares = torch.tensor([[1.0, 1.0], [0.4, 0.4], [0.0, 0.0]])
    mask = kept(cells(points, CELL), valid, order, torch.rand(3, 600), shares)
    assert not (mask & ~valid).any()
    assert torch.equal(mask[0], valid[0])
    groups = members(cloud(600)[:400])
    for group in groups.values():
        assert mask[1, group].sum() == int(np.ceil(np.float32(0.4) * len(group)))
        assert mask[2, group].sum() == 1
    nothing = kept(cells(points, CELL), torch.zeros_like(valid), order, torch.rand(3, 600), shares)
    assert not nothing.any()


def test_places_number_the_points_of_a_cell_in_the_given_order():
    cell, order = np.array([7, 3, 7, 7, 3]), np.array([4, 3, 2, 1, 0])
    assert places_numpy(cell, order).tolist() == [2, 1, 1, 0, 0]


@pytest.mark.parametrize("ratio", [(0.0, 0.7), (0.3, 1.2), (0.7, 0.3), (-0.1, 0.5)])
def test_a_ratio_that_is_no_share_is_refused(ratio: tuple[float, float]):
    with pytest.raises(ValueError, match=r"ratio: expected 0 < low <= high <= 1, got"):
        subsample(cloud(), "half", ratio=ratio)


@pytest.mark.parametrize("cell_m", [0.0, -0.005])
def test_a_cell_without_size_is_refused(cell_m: float):
    sentence = f"cell_m: expected more than 0 m, got {cell_m}."
    with pytest.raises(ValueError, match=sentence):
        subsample(cloud(), "half", cell_m=cell_m)
    with pytest.raises(ValueError, match=sentence):
        cells(torch.zeros(1, 4, 3), cell_m)


def test_an_empty_cloud_is_refused():
    with pytest.raises(ValueError, match="Expected a cloud to sample from, got one without points"):
        subsample(np.zeros((0, 3), np.float32), "half")


def test_an_unknown_scenario_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown density scenario 'singel'. Did you mean 'single'\?"):
        cell_shares("singel", RATIO)


@pytest.mark.parametrize("far", [1e7, np.nan, np.inf])
def test_a_cloud_too_wide_for_the_cells_is_refused(far: float):
    points = cloud()
    points[5, 1] = far
    with pytest.raises(ValueError, match=r"within 1\.049e\+04 m of the origin, which cells of 0\.01 m reach"):
        subsample(points, "half")
