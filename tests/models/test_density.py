"""Is a thin cloud one that a sparse sensor might have given, and does only the student learn from the comparison?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sceneleapultra.models.density import DensityConsistency, same_grasps, stratified
from torch.testing import assert_close

from factories.models import scene_batch, small_model
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.sampling import cloud_of
from sceneleapultra.utils.geometry.cloud.arrangement import arrange
from sceneleapultra.utils.geometry.point_choice import PointChoice
from sceneleapultra.utils.geometry.points import gather

SHARE = 0.6


def consistency(**changes) -> DensityConsistency:
    settings = {
        "feature_weight": 0.1,
        "prediction_weight": 0.2,
        "ramp_steps": 10,
        "scenarios": {"half": 0.5, "single": 0.5},
        "cell_m": 0.02,
        "ratio": (0.3, 0.7),
        "reach_m": 0.03,
        "target_share": SHARE,
    }
    return DensityConsistency(**{**settings, **changes})


def clouds(num_valid: int = 96) -> Cloud:
    """Three clouds whose last points are padding, in stratified farthest-point order."""
    cloud = cloud_of(scene_batch())
    valid = (torch.arange(96) < num_valid).expand(3, 96)
    index, found = stratified(cloud.points, valid, cloud.target, SHARE)
    return replace(
        cloud,
        points=gather(cloud.points, index),
        valid=found,
        target=gather(cloud.target, index) & found,
    )


@pytest.mark.parametrize("num_valid", [96, 40, 1])
def test_order_is_that_of_any_arranged_cloud(num_valid: int):
    cloud = cloud_of(scene_batch())
    target = cloud.target.clone()
    target[:, 0] = True
    valid = (torch.arange(96) < num_valid).expand(3, 96)
    index, found = stratified(cloud.points, valid, target, SHARE)
    for b in range(3):
        expected, _ = arrange(
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
def test_a_thin_cloud_is_part_of_the_full_one(scenario: str):
    cloud, term = clouds(80), consistency(scenarios={scenario: 1.0})
    thin = term.thin(cloud, term.draw([5, 6, 7], 96, seed=0, step=3))
    for b in range(3):
        full = {tuple(p) for p in cloud.points[b, cloud.valid[b]].tolist()}
        left = [tuple(p) for p in thin.points[b, thin.valid[b]].tolist()]
        assert set(left) < full and len(set(left)) == len(left)
        occupied = {tuple(np.floor(np.array(p) / np.float32(0.02)).astype(int)) for p in full}
        assert len(left) == len(occupied) if scenario == "single" else len(left) >= len(occupied)
        there = cloud.valid[b]
        pairs = zip(cloud.points[b, there].tolist(), cloud.target[b, there].tolist(), strict=True)
        kinds = {tuple(p): t for p, t in pairs}
        assert [kinds[p] for p in left] == thin.target[b, thin.valid[b]].tolist()
    assert (thin.points[~thin.valid] == 0).all() and not thin.target[~thin.valid].any()


def test_draws_belong_to_items_whatever_batch_they_are_in():
    cloud, term = clouds(), consistency()
    together = term.thin(cloud, term.draw([5, 6, 7], 96, seed=0, step=3))
    one = Cloud(**{name: value[1:2] for name, value in vars(cloud).items() if value is not None})
    alone = term.thin(one, term.draw([6], 96, seed=0, step=3))
    assert torch.equal(alone.points[0], together.points[1])
    later = term.thin(cloud, term.draw([5, 6, 7], 96, seed=0, step=4))
    assert not torch.equal(later.points, together.points)


def test_scenarios_come_as_often_as_asked_for():
    draw = consistency(scenarios={"full": 0.0, "half": 0.75, "single": 0.25}).draw(range(600), 1, 0, 0)
    half = (draw.shares[:, 0] > 0).float().mean().item()
    assert 0.69 < half < 0.81  # three standard deviations of 0.018
    assert not (draw.shares == 1.0).any()


def test_without_thinning_student_and_teacher_agree(model):
    """In `full` the student's cloud is the teacher's, so nothing differs, prediction included."""
    cloud, term = clouds(90), consistency(scenarios={"full": 1.0})
    thin = term.thin(cloud, term.draw([0, 1, 2], 96, seed=0, step=0))
    assert torch.equal(thin.points[thin.valid], cloud.points[cloud.valid])
    teacher, student = model.denoiser.encode(cloud), model.denoiser.encode(thin)
    assert_close(
        term.feature_difference(student.tokens, teacher.tokens), torch.tensor(0.0), atol=1e-5, rtol=0
    )
    index = model.sample_anchors(teacher, 5, torch.Generator().manual_seed(0))
    anchored = model.denoiser.anchor(teacher, index, torch.zeros_like(index))
    again = same_grasps(model.denoiser, student, anchored)
    assert torch.equal(again.index, index)
    x_t, t = torch.randn(3, 5, model.denoiser.codec.layout.dim), torch.tensor([0.2, 0.5, 0.9])
    one, two = (model.predicted_x0(x_t, t, a) for a in (anchored, again))
    assert_close(two, one, atol=1e-4, rtol=1e-4)


def test_a_thin_cloud_is_seen_from_the_same_anchors(model):
    cloud, term = clouds(), consistency(scenarios={"single": 1.0})
    teacher = model.denoiser.encode(cloud)
    student = model.denoiser.encode(term.thin(cloud, term.draw([0, 1, 2], 96, seed=0, step=0)))
    index = model.sample_anchors(teacher, 5, torch.Generator().manual_seed(0))
    anchored = model.denoiser.anchor(teacher, index, torch.zeros_like(index))
    again = same_grasps(model.denoiser, student, anchored)
    assert torch.equal(again.origins, anchored.origins) and torch.equal(again.frames, anchored.frames)
    assert gather(student.tokens.valid[..., None], again.index).all()
    gap = (gather(student.tokens.xyz, again.index) - gather(teacher.tokens.xyz, index)).norm(dim=-1)
    assert 0.0 < gap.max() < 0.06


def test_only_the_student_learns(model):
    cloud, term = clouds(), consistency()
    teacher = model.denoiser.encode(cloud).tokens
    student = model.denoiser.encode(term.thin(cloud, term.draw([0, 1, 2], 96, seed=0, step=0))).tokens
    taught, learnt = torch.autograd.grad(
        term.feature_difference(student, teacher), [teacher.features, student.features], allow_unused=True
    )
    assert taught is None
    assert learnt.abs().sum() > 0


def test_tokens_out_of_reach_do_not_count(model):
    tokens = model.denoiser.encode(clouds()).tokens
    far = replace(tokens, xyz=tokens.xyz + 1.0, features=-tokens.features)
    assert consistency().feature_difference(far, tokens) == 0.0
    assert consistency().feature_difference(replace(far, xyz=tokens.xyz), tokens) > 1.9


def test_weights_rise_linearly():
    term = consistency()
    assert term.weights(0) == pytest.approx({"density_features": 0.01, "density_prediction": 0.02})
    assert term.weights(4) == pytest.approx({"density_features": 0.05, "density_prediction": 0.1})
    assert term.weights(500) == pytest.approx({"density_features": 0.1, "density_prediction": 0.2})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"feature_weight": -1.0},
            "model.objective.terms.sparse_features.weight: expected at least 0, got -1.0.",
        ),
        (
            {"prediction_weight": -1.0},
            "model.objective.terms.sparse_prediction.weight: expected at least 0, got -1.0.",
        ),
        ({"ramp_steps": 0}, "model.objective.sparse_view.ramp_steps: expected at least 1, got 0."),
        (
            {"scenarios": {}},
            "model.objective.sparse_view.scenarios: expected chances of at least 0, not all 0, got {}.",
        ),
        (
            {"scenarios": {"half": -1.0}},
            "model.objective.sparse_view.scenarios: expected chances of at least 0, not all 0",
        ),
        ({"scenarios": {"halve": 1.0}}, "Unknown density scenario 'halve'. Did you mean 'half'?"),
        ({"cell_m": 0.0}, "model.objective.sparse_view.cell_m: expected more than 0, got 0.0."),
        ({"reach_m": 0.0}, "model.objective.sparse_view.reach_m: expected more than 0, got 0.0."),
        ({"ratio": (0.0, 0.5)}, "ratio: expected 0 < low <= high <= 1, got [0.0, 0.5]."),
    ],
)
def test_settings_that_cannot_be_are_named(changes: dict, sentence: str):
    with pytest.raises(ValueError) as caught:
        consistency(**changes)
    assert str(caught.value).startswith(sentence)


def test_training_learns_from_both_terms_and_validation_is_left_alone():
    """The loss of training is that without the term plus the weighted differences; that of validation is as it was."""
    term, batch, model = consistency(), scene_batch(), small_model()
    logged = []
    for density in (None, term, consistency(feature_weight=0.0, prediction_weight=0.0)):
        model.objective.sparse_view, seen = density, {}
        model.log_dict = lambda values, seen=seen, **_: seen.update(values)
        losses = [model._step(batch, stage, step).item() for stage, step in (("train", 4), ("val", 0))]
        logged.append((losses, seen))
    (plain, seen), (taught, more), (off, same) = logged
    assert off == plain and same == seen
    assert taught[1] == plain[1]
    assert set(more) - set(seen) == {"train/density_features", "train/density_prediction"}
    features, prediction = (more[f"train/density_{name}"].item() for name in ("features", "prediction"))
    assert features > 0 and prediction > 0
    assert taught[0] == pytest.approx(plain[0] + 0.05 * features + 0.1 * prediction, rel=1e-5)


def test_a_step_learns_from_the_prediction_of_the_full_cloud_only_as_a_target():
    """With the prediction term alone and the student's cloud the teacher's, there is nothing to learn from it."""
    cloud = clouds()
    batch = replace(scene_batch(), scene_pc=cloud.points, point_valid=cloud.valid, object_mask=cloud.target)
    term = consistency(scenarios={"full": 1.0}, feature_weight=0.0, prediction_weight=1.0, ramp_steps=1)
    model = small_model(density=term)
    thin = term.draw(batch.item_index, 96, model.objective.seed, 0)
    draws = replace(model.draw(batch, 0, model.generator.encoder.num_tokens), thin=thin)
    terms = model.losses(batch, draws)
    assert_close(terms["density_prediction"], torch.tensor(0.0), atol=1e-6, rtol=0)
