"""The head that says where grasps succeed: what it learns from, and how it changes the choice of anchors."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from factories.models import (
    TERMS,
    losses_of,
    scene_batch,
    small_generator,
    small_module,
    small_objective,
    small_score,
)
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.network.heads.anchors import AnchorHeadConfig
from sceneleapultra.models.network.heads.graspness import GraspnessHeadConfig, weigh_anchors
from sceneleapultra.models.objectives.states import HeadLoss
from sceneleapultra.models.sampling import SampleRandom, SamplingRun, choose_anchors
from sceneleapultra.utils.batch import GraspBatch

HEADS = {"anchors": AnchorHeadConfig(), "score": small_score(), "graspness": GraspnessHeadConfig(dim=16)}
LEARNED = {"graspness": HeadLoss(head="graspness", weight=1.0)}


def module() -> GraspModule:
    return small_module(small_generator(heads=HEADS), small_objective(terms=TERMS | LEARNED))


def judged(stable: float, free: float) -> GraspBatch:
    """Grasps that all had the same verdict."""
    batch = scene_batch()
    assert batch.grasp_success is not None
    like = batch.grasp_success.float()
    return replace(
        batch,
        grasp_stable=torch.full_like(like, stable),
        grasp_collision_free=torch.full_like(like, free),
    )


@pytest.mark.parametrize(
    ("stable", "free", "success"),
    [(1.0, 1.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (float("nan"), 0.0, 0.0), (1.0, float("nan"), 1.0)],
)
def test_success_is_stable_and_collision_free(stable: float, free: float, success: float) -> None:
    made = module()
    context = made.objective.context(made.generator, judged(stable, free), step=0, training=True)
    head = made.generator.heads["graspness"]
    logit, truth, known = head._events(context)
    assert_close(truth, torch.full_like(truth, success))
    assert torch.equal(known, context.valid) and known.any()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logit, truth, reduction="none")
    share = (expected * known).sum(1) / known.sum(1).clamp(min=1)
    assert_close(head.loss(context), share.mean())


def test_what_was_never_tried_teaches_nothing() -> None:
    assert losses_of(module(), judged(float("nan"), float("nan")))["graspness"] == 0.0


def test_a_place_where_grasps_fail_is_told_from_one_where_they_succeed() -> None:
    """Overfitted: grasps at even places succeed, at odd ones they fail."""
    made, batch = module(), judged(1.0, 1.0)
    context = made.objective.context(made.generator, batch, step=0, training=False)
    even = (context.index % 2 == 0).float()
    batch = replace(batch, grasp_stable=even)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(80):
        context = made.objective.context(made.generator, batch, step=0, training=False)
        optimizer.zero_grad()
        made.generator.heads["graspness"].loss(context).backward()
        optimizer.step()
    figures = made.generator.heads["graspness"].metrics(context)["graspness"].figures()
    assert figures["auroc"] > 0.95


def test_anchors_are_weighed_by_the_chance_to_a_power() -> None:
    outputs = {"anchors": torch.tensor([[0.0, 1.0]]), "graspness": torch.tensor([[2.0, -2.0]])}
    chance = outputs["graspness"].sigmoid()
    weighed = weigh_anchors(outputs, 3.0)["anchors"].softmax(-1)
    expected = outputs["anchors"].softmax(-1) * chance**3
    assert_close(weighed, expected / expected.sum())
    assert weigh_anchors(outputs, 0.0) is outputs


def test_sampling_goes_where_grasps_succeed() -> None:
    generator, batch = small_generator(heads=HEADS), scene_batch(num_scenes=1)
    config = generator.sampling.changed(graspness=1e4, steps=1)
    with torch.no_grad():
        generator.heads["graspness"].mlp[-1].weight.mul_(100.0)
        rng = SampleRandom([0], torch.device("cpu"))
        scene = SamplingRun(generator, batch, config, rng).scene
        chosen = choose_anchors(scene, 8, config.anchor_temperature, rng)
    chance = scene.outputs["graspness"].masked_fill(~scene.tokens.target, float("-inf"))
    assert (chosen == chance.argmax(-1)).all()


def test_a_model_without_the_head_is_told() -> None:
    config = small_generator().sampling.changed(graspness=1.0, steps=1)
    with pytest.raises(ValueError, match=r"sampling\.graspness=1 needs a model with the head graspness"):
        small_generator().sample(scene_batch(num_scenes=1), 2, seeds=[0], sampling=config)
