"""Pairing predictions with true grasps: against all permutations, with masks, ties, and sets of unequal size."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from sceneleapultra.hands import GraspPose
from sceneleapultra.models.objectives.matching import (
    Hungarian,
    Index,
    Match,
    Matching,
    PoseCost,
    Sinkhorn,
    take_largest,
)
from sceneleapultra.utils.geometry.rotation import matrix_from_quat_wxyz

COST = PoseCost(translation_m=0.02, rotation_rad=0.3, joints_rad=0.2)
HUNGARIAN = Hungarian(cost=COST)
SINKHORN = Sinkhorn(cost=COST, iterations=100, entropy=0.002)
SETS = [HUNGARIAN, SINKHORN]


def poses(*shape: int) -> GraspPose:
    quat = torch.nn.functional.normalize(torch.randn(*shape, 4), dim=-1)
    return GraspPose(torch.randn(*shape, 3), matrix_from_quat_wxyz(quat), torch.randn(*shape, 16))


def all_pairs(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.bool)


def total(cost: torch.Tensor, match: Match) -> torch.Tensor:
    return (cost.gather(2, match.index[..., None]).squeeze(2) * match.matched).sum(1)


def least_total(cost: torch.Tensor) -> float:
    """Try every way to pair all of the smaller side of one scene."""
    g, k = cost.shape
    if g > k:
        return least_total(cost.T)
    ways = itertools.permutations(range(k), g)
    return min(float(sum(cost[i, column] for i, column in enumerate(way))) for way in ways)


def check_valid(match: Match, allowed: torch.Tensor) -> None:
    """One to one, allowed pairs only, and no pair left that could still be made."""
    rows, columns = match.index.shape[1], allowed.shape[2]
    pairs = torch.nn.functional.one_hot(match.index, columns).bool() & match.matched[..., None]
    assert rows == allowed.shape[1] and not (pairs & ~allowed).any()
    assert (pairs.sum(1) <= 1).all()
    free = ~pairs.any(2)[:, :, None] & ~pairs.any(1)[:, None]
    assert not (free & allowed).any()


@pytest.mark.parametrize(("g", "k"), [(1, 1), (5, 5), (6, 4), (4, 6), (1, 5), (5, 1)])
def test_the_total_is_the_least_of_all_permutations(g, k):
    cost = torch.rand(20, g, k, dtype=torch.float64)
    least = torch.tensor([least_total(scene) for scene in cost], dtype=torch.float64)
    match = HUNGARIAN.pair(cost, all_pairs(20, g, k))
    check_valid(match, all_pairs(20, g, k))
    assert_close(total(cost, match), least)


@pytest.mark.parametrize("matching", SETS)
@pytest.mark.parametrize(("g", "k"), [(6, 6), (6, 4), (4, 6)])
def test_grasps_that_were_moved_a_little_find_themselves(matching, g, k):
    """Away from ties both give the one right pairing: poses are some 50 units apart, the motion costs below 1."""
    true = poses(8, 6)
    order = torch.stack([torch.randperm(6) for _ in range(8)])
    everything = torch.arange(8)[:, None]
    moved = GraspPose(
        true.translation[everything, order] + 1e-3,
        true.rotation[everything, order],
        true.qpos[everything, order] + 0.01,
    )
    cost = COST(moved, true)[:, :g, :k]
    match = matching.pair(cost, all_pairs(8, g, k))
    check_valid(match, all_pairs(8, g, k))
    found = order[:, :g] < k  # whose own grasp is among those given
    assert torch.equal(match.index[found], order[:, :g][found]) and match.matched[found].all()


@pytest.mark.parametrize(("g", "k"), [(8, 8), (8, 5), (5, 8)])
def test_sinkhorn_is_near_the_optimum(g, k):
    """Never below it, and the same total in nearly every scene of random costs, where second best is close."""
    cost, allowed = torch.rand(64, g, k, dtype=torch.float64), all_pairs(64, g, k)
    match = SINKHORN.pair(cost, allowed)
    check_valid(match, allowed)
    excess = total(cost, match) - total(cost, HUNGARIAN.pair(cost, allowed))
    assert excess.min() > -1e-9
    assert (excess < 1e-9).double().mean() >= 0.95


@pytest.mark.parametrize("matching", SETS)
def test_what_is_not_valid_or_of_another_set_is_never_paired(matching):
    cost = torch.rand(32, 7, 6, dtype=torch.float64)
    rows, columns = torch.rand(32, 7) < 0.6, torch.rand(32, 6) < 0.6
    rows[0], columns[1] = False, False
    row_set, column_set = torch.randint(0, 2, (32, 7)), torch.randint(0, 2, (32, 6))
    allowed = rows[:, :, None] & columns[:, None] & (row_set[:, :, None] == column_set[:, None])
    cost[~allowed] = math.nan  # nothing that is masked may matter
    match = matching.pair(cost, allowed)
    check_valid(match, allowed)
    assert not match.matched[:2].any()
    count = [
        torch.minimum((rows & (row_set == s)).sum(1), (columns & (column_set == s)).sum(1)) for s in (0, 1)
    ]
    assert torch.equal(match.matched.sum(1), count[0] + count[1]), "as many as there can be"


def test_as_many_as_possible_come_before_a_low_cost():
    """Alone, 0-0 would be cheapest by far; but then 1 stays without a partner."""
    cost = torch.tensor([[[0.0, 9.0], [9.0, 0.0]]], dtype=torch.float64)
    allowed = torch.tensor([[[True, True], [True, False]]])
    match = HUNGARIAN.pair(cost, allowed)
    assert match.matched.all() and match.index.tolist() == [[1, 0]]


@pytest.mark.parametrize("matching", SETS)
def test_ties_are_paired_one_to_one(matching):
    for cost in (torch.zeros(2, 5, 5), torch.full((2, 5, 3), 7.0), torch.ones(2, 3, 5)):
        check_valid(matching.pair(cost, all_pairs(*cost.shape)), all_pairs(*cost.shape))


@pytest.mark.parametrize("matching", SETS)
def test_costs_of_any_size_are_paired_alike(matching):
    cost, allowed = torch.rand(8, 5, 5, dtype=torch.float64), all_pairs(8, 5, 5)
    match = matching.pair(cost, allowed)
    for other in (1e-9 * cost, 1e9 * cost, cost - 100.0):
        assert torch.equal(matching.pair(other, allowed).index, match.index)


@pytest.mark.parametrize("matching", SETS)
def test_the_loss_does_not_depend_on_the_order_of_the_true_grasps(matching):
    predicted, true = poses(4, 6), poses(4, 6)
    order = torch.randperm(6)
    turned = GraspPose(true.translation[:, order], true.rotation[:, order], true.qpos[:, order])

    def loss(truth: GraspPose) -> torch.Tensor:
        match = matching(lambda: predicted, truth, torch.zeros(4, 6, dtype=torch.int64))
        return (predicted.translation - match.of_targets(truth.translation)).square().sum(-1)

    assert_close(loss(turned), loss(true))


@pytest.mark.parametrize("matching", SETS)
def test_sets_are_paired_within_themselves(matching):
    """The first two are set 0, the next two set 1, the last one counts in none; the cheapest pairs lie across."""
    true = poses(1, 5)
    order = torch.tensor([2, 3, 0, 1, 4])
    predicted = GraspPose(true.translation[:, order], true.rotation[:, order], true.qpos[:, order])
    match = matching(lambda: predicted, true, torch.tensor([[0, 0, 1, 1, -1]]))
    assert set(match.index[0, :2].tolist()) == {0, 1} and set(match.index[0, 2:4].tolist()) == {2, 3}
    assert match.matched.tolist() == [[True, True, True, True, False]]


def test_no_gradient_enters_the_pairing():
    true, predicted = poses(1, 3), poses(1, 3)
    predicted.translation.requires_grad_(True)
    assert not COST(predicted, true).requires_grad
    cost = predicted.translation.cumsum(1)
    for matching in SETS:
        match = matching.pair(cost, all_pairs(1, 3, 3))
        assert not match.index.requires_grad and not match.matched.requires_grad


def test_the_cost_of_a_pair():
    """2 cm of 2 cm: 1; a turn of 0.6 rad of 0.3: 4; all joints by 0.1 rad of 0.2: 1/4."""
    one = GraspPose(torch.zeros(1, 1, 3), torch.eye(3)[None, None], torch.zeros(1, 1, 16))
    half = torch.tensor(0.3)
    quat = torch.stack([half.cos(), half.sin(), half * 0, half * 0])
    other = GraspPose(
        torch.tensor([[[0.0, 0.02, 0.0]]]),
        matrix_from_quat_wxyz(quat)[None, None],
        torch.full((1, 1, 16), 0.1),
    )
    assert_close(COST(one, other), torch.tensor([[[5.25]]], dtype=torch.float64), atol=1e-5, rtol=0)
    both = GraspPose(*(torch.cat([getattr(p, f) for p in (one, other)], 1) for f in vars(one)))
    assert_close(COST(one, both), torch.tensor([[[0.0, 5.25]]], dtype=torch.float64), atol=1e-5, rtol=0)


def test_by_index_nothing_is_paired_or_computed():
    def unread() -> GraspPose:
        raise AssertionError("predictions do not matter")

    assert Index()(unread, poses(1, 3), torch.zeros(1, 3, dtype=torch.int64)) is None


def test_values_of_targets_come_in_the_order_of_predictions():
    match = Match(torch.tensor([[2, 0]]), torch.tensor([[True, True]]))
    values = torch.arange(12.0).reshape(1, 3, 2, 2)
    assert torch.equal(match.of_targets(values), values[:, [2, 0]])
    assert match.of_targets(torch.tensor([[5, 6, 7]])).tolist() == [[7, 5]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_cost_that_is_not_finite_is_refused_by_its_place(bad):
    cost = torch.rand(3, 4, 5)
    cost[1, 2, 3] = bad
    with pytest.raises(ValueError, match=f"prediction 2 and true grasp 3 of scene 1 of the batch cost {bad}"):
        HUNGARIAN.pair(cost, all_pairs(3, 4, 5))


def test_a_nan_stays_in_the_loss_where_it_cannot_be_refused():
    """Without waiting for the device: the pairing is one, and the loss of the grasp that is not finite is not."""
    predicted, true = poses(2, 4), poses(2, 4)
    predicted.translation[0, 1] = math.nan
    match = SINKHORN.pair(COST(predicted, true), all_pairs(2, 4, 4))
    assert ((match.index >= 0) & (match.index < 4)).all()
    loss = (predicted.translation - match.of_targets(true.translation)).square().sum(-1)
    assert loss[0].isnan().any() and loss[1].isfinite().all()
    check_valid(Match(match.index[1:], match.matched[1:]), all_pairs(1, 4, 4))


def test_the_largest_scores_are_taken_first():
    score = torch.tensor([[[5.0, 9.0], [4.0, 8.0]]])
    match = take_largest(score, all_pairs(1, 2, 2))
    assert match.index.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: PoseCost(translation_m=0.0, rotation_rad=1.0, joints_rad=1.0),
            "translation_m: expected more",
        ),
        (lambda: Sinkhorn(cost=COST, iterations=0, entropy=0.1), "iterations: expected at least 1, got 0"),
        (
            lambda: Sinkhorn(cost=COST, iterations=1, entropy=1.0),
            "entropy: expected more than 0 and less than 1",
        ),
    ],
)
def test_settings_without_a_meaning_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_all_are_choices_of_one_kind():
    assert all(isinstance(matching, Matching) for matching in (Index(), *SETS))
