"""Is a sparse view what a sparse sensor might have given, and does only the network on it learn from comparing?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from factories.models import STATE_TERMS, TERMS, draw_anchors, scene_batch, small_module, small_objective
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.objectives.sparse import (
    SparseFeatures,
    SparsePrediction,
    SparseView,
    same_anchors,
    stratified,
)
from sceneleapultra.utils.geometry.cloud.arrangement import select_points
from sceneleapultra.utils.geometry.point_choice import PointChoice
from sceneleapultra.utils.geometry.points import gather

SHARE = 0.6


def sparse_view(**changes) -> SparseView:
    settings = {
        "scenarios": {"half": 0.5, "single": 0.5},
        "cell_m": 0.02,
        "ratio": (0.3, 0.7),
        "target_share": SHARE,
    }
    return SparseView(**{**settings, **changes})


def features(**changes) -> SparseFeatures:
    return SparseFeatures(**{"reach_m": 0.03, "weight": 0.1, **changes})


def clouds(num_valid: int = 96) -> Cloud:
    """Three clouds whose last points are padding, in stratified farthest-point order."""
    cloud = Cloud.of(scene_batch())
    valid = (torch.arange(96) < num_valid).expand(3, 96)
    index, found = stratified(cloud, valid, SHARE)
    return replace(
        cloud,
        points=gather(cloud.points, index),
        valid=found,
        target=gather(cloud.target, index) & found,
    )


@pytest.mark.parametrize("num_valid", [96, 40, 1])
def test_order_is_that_of_any_arranged_cloud(num_valid: int):
    cloud = Cloud.of(scene_batch())
    target = cloud.target.clone()
    target[:, 0] = True
    valid = (torch.arange(96) < num_valid).expand(3, 96)
    index, found = stratified(replace(cloud, target=target), valid, SHARE)
    for b in range(3):
        expected, _ = select_points(
            cloud.points[b, :num_valid].numpy(),
            target[b, :num_valid].numpy(),
            num_points=96,
            target_share=SHARE,
            crop_radius=10.0,
            choice=PointChoice(sampler="farthest", cell_m=1.0, shares=(1.0, 0.0, 0.0), falloff_m=1.0),
            rng=np.random.default_rng(0),
        )
        assert index[b, : len(expected)].tolist() == expected.tolist()
        assert found[b].tolist() == [True] * num_valid + [False] * (96 - num_valid)


@pytest.mark.parametrize("scenario", ["half", "single"])
def test_a_sparse_view_is_part_of_the_full_cloud(scenario: str):
    cloud, view = clouds(80), sparse_view(scenarios={scenario: 1.0})
    sparse = view.sparsify(cloud, view.draw([5, 6, 7], 96, seed=0, step=3))
    for b in range(3):
        full = {tuple(p) for p in cloud.points[b, cloud.valid[b]].tolist()}
        left = [tuple(p) for p in sparse.points[b, sparse.valid[b]].tolist()]
        assert set(left) < full and len(set(left)) == len(left)
        occupied = {tuple(np.floor(np.array(p) / np.float32(0.02)).astype(int)) for p in full}
        assert len(left) == len(occupied) if scenario == "single" else len(left) >= len(occupied)
        there = cloud.valid[b]
        pairs = zip(cloud.points[b, there].tolist(), cloud.target[b, there].tolist(), strict=True)
        kinds = {tuple(p): t for p, t in pairs}
        assert [kinds[p] for p in left] == sparse.target[b, sparse.valid[b]].tolist()
    assert (sparse.points[~sparse.valid] == 0).all() and not sparse.target[~sparse.valid].any()


def test_random_numbers_belong_to_items_whatever_batch_they_are_in():
    cloud, view = clouds(), sparse_view()
    whole = view.sparsify(cloud, view.draw([5, 6, 7], 96, seed=0, step=3))
    one = Cloud(**{name: value[1:2] for name, value in vars(cloud).items() if value is not None})
    single = view.sparsify(one, view.draw([6], 96, seed=0, step=3))
    assert torch.equal(single.points[0], whole.points[1])
    later = view.sparsify(cloud, view.draw([5, 6, 7], 96, seed=0, step=4))
    assert not torch.equal(later.points, whole.points)


def test_scenarios_come_as_often_as_asked_for():
    view = sparse_view(scenarios={"full": 0.0, "half": 0.75, "single": 0.25})
    noise = view.draw(range(600), 1, 0, 0)
    half = (noise.shares[:, 0] > 0).float().mean().item()
    assert 0.69 < half < 0.81  # three standard deviations of 0.018
    assert not (noise.shares == 1.0).any()


def test_where_nothing_is_taken_away_both_views_agree(generator):
    """In `full` the sparse view is the full cloud, so nothing differs, prediction included."""
    cloud, view = clouds(90), sparse_view(scenarios={"full": 1.0})
    same = view.sparsify(cloud, view.draw([0, 1, 2], 96, seed=0, step=0))
    assert torch.equal(same.points[same.valid], cloud.points[cloud.valid])
    full, sparse = generator.encode(cloud), generator.encode(same)
    assert_close(features().difference(sparse.tokens, full.tokens), torch.tensor(0.0), atol=1e-5, rtol=0)
    index = draw_anchors(full, 5)
    anchored = generator.anchor(full, index, torch.zeros_like(index))
    again = same_anchors(generator, sparse, anchored, {})
    assert torch.equal(again.index, index)
    x_t, t = torch.randn(3, 5, generator.codec.layout.dim), torch.tensor([0.2, 0.5, 0.9])
    one, two = (generator.predict_x0(x_t, t, a) for a in (anchored, again))
    assert_close(two, one, atol=1e-4, rtol=1e-4)


def test_a_sparse_scene_is_moved_to_the_same_anchors(generator):
    cloud, view = clouds(), sparse_view(scenarios={"single": 1.0})
    full = generator.encode(cloud)
    sparse = generator.encode(view.sparsify(cloud, view.draw([0, 1, 2], 96, seed=0, step=0)))
    index = draw_anchors(full, 5)
    anchored = generator.anchor(full, index, torch.zeros_like(index))
    again = same_anchors(generator, sparse, anchored, {})
    assert torch.equal(again.origins, anchored.origins) and torch.equal(again.frames, anchored.frames)
    assert gather(sparse.tokens.valid[..., None], again.index).all()
    gap = (gather(sparse.tokens.xyz, again.index) - gather(full.tokens.xyz, index)).norm(dim=-1)
    assert 0.0 < gap.max() < 0.06


def test_only_the_sparse_view_learns_features(generator):
    cloud, view = clouds(), sparse_view()
    full = generator.encode(cloud).tokens
    sparse = generator.encode(view.sparsify(cloud, view.draw([0, 1, 2], 96, seed=0, step=0))).tokens
    of_full, of_sparse = torch.autograd.grad(
        features().difference(sparse, full), [full.features, sparse.features], allow_unused=True
    )
    assert of_full is None
    assert of_sparse.abs().sum() > 0


def test_only_the_sparse_view_learns_predictions():
    terms = {**TERMS, "sparse_prediction": SparsePrediction(weight=1.0)}
    module = small_module(objective=small_objective(terms=terms, sparse_view=sparse_view()))
    context = module.objective.context(module.generator, scene_batch(), step=0, training=True)
    of_full, of_sparse = torch.autograd.grad(
        terms["sparse_prediction"](context), [context.x0_hat, context.sparse_x0_hat], allow_unused=True
    )
    assert of_full is None
    assert of_sparse.abs().sum() > 0


def test_tokens_out_of_reach_do_not_count(generator):
    tokens = generator.encode(clouds()).tokens
    far = replace(tokens, xyz=tokens.xyz + 1.0, features=-tokens.features)
    assert features().difference(far, tokens) == 0.0
    assert features().difference(replace(far, xyz=tokens.xyz), tokens) > 1.9


@pytest.mark.parametrize(
    ("make", "changes", "sentence"),
    [
        (features, {"weight": -1.0}, "weight: expected at least 0, got -1.0."),
        (features, {"reach_m": 0.0}, "model.objective.terms: expected reach_m more than 0, got 0.0."),
        (
            sparse_view,
            {"scenarios": {}},
            "model.objective.sparse_view.scenarios: expected chances of at least 0, not all 0, got {}.",
        ),
        (
            sparse_view,
            {"scenarios": {"half": -1.0}},
            "model.objective.sparse_view.scenarios: expected chances of at least 0, not all 0",
        ),
        (
            sparse_view,
            {"scenarios": {"halve": 1.0}},
            "Unknown density scenario 'halve'. Did you mean 'half'?",
        ),
        (
            sparse_view,
            {"cell_m": 0.0},
            "model.objective.sparse_view.cell_m: expected more than 0, got 0.0.",
        ),
        (sparse_view, {"ratio": (0.0, 0.5)}, "ratio: expected 0 < low <= high <= 1, got [0.0, 0.5]."),
    ],
)
def test_settings_that_cannot_be_are_named(make, changes: dict, sentence: str):
    with pytest.raises(ValueError) as caught:
        make(**changes)
    assert str(caught.value).startswith(sentence)


def test_a_term_that_compares_needs_settings_of_the_sparse_view():
    with pytest.raises(ValueError, match=r"terms\.sparse_features compares with a sparse view.*weight=0"):
        small_objective(terms={**STATE_TERMS, "sparse_features": features()}, sparse_view=None)
    small_objective(terms={**STATE_TERMS, "sparse_features": features(weight=0.0)}, sparse_view=None)


def test_training_learns_from_both_terms_and_validation_is_left_alone():
    """The loss of training is that without the terms plus the weighted differences; that of validation is as it was."""

    def rising(last: float):
        return lambda step: min(1.0, (step + 1) / 10) * last

    def compared(one, two) -> dict:
        return {
            "sparse_features": features(weight=one),
            "sparse_prediction": SparsePrediction(weight=two),
        }

    batch, found = scene_batch(), []
    for more, view in (
        ({}, None),
        (compared(rising(0.1), rising(0.2)), sparse_view()),
        (compared(0.0, 0.0), sparse_view()),
    ):
        module = small_module(objective=small_objective(terms={**TERMS, **more}, sparse_view=view))
        logged: dict = {}
        module.log_dict = lambda values, logged=logged, **_: logged.update(values)
        losses = [module._step(batch, stage, step).item() for stage, step in (("train", 4), ("val", 0))]
        found.append((losses, logged))
    (plain, terms), (both, more), (off, same) = found
    assert off == plain and same == terms
    assert both[1] == plain[1]
    assert set(more) - set(terms) == {"train/sparse_features", "train/sparse_prediction"}
    of_features, of_prediction = (more[f"train/sparse_{name}"].item() for name in ("features", "prediction"))
    assert of_features > 0 and of_prediction > 0
    assert both[0] == pytest.approx(plain[0] + 0.05 * of_features + 0.1 * of_prediction, rel=1e-5)
