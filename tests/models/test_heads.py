"""Heads: two log-odds put together by probability, learned where they are known, from what is beside the grasp."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from factories.models import (
    TERMS,
    losses_of,
    scene_batch,
    small_generator,
    small_module,
    small_objective,
    small_score,
    small_token_score,
)
from sceneleapultra.hands import GraspPose
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.losses import score_loss
from sceneleapultra.models.network.context import DecodedGrasps, SceneContext
from sceneleapultra.models.network.heads.anchors import AnchorHeadConfig
from sceneleapultra.models.network.heads.base import success_log_odds
from sceneleapultra.models.network.heads.score import ScoreHeadConfig
from sceneleapultra.models.network.surface import Surface
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.objectives.states import HeadLoss


def test_log_odds_of_both_parts() -> None:
    stable, collision_free = torch.tensor([0.0, 2.0, -3.0, 9.0]), torch.tensor([0.0, -1.0, 4.0, 20.0])
    p = stable.sigmoid() * collision_free.sigmoid()
    odds = success_log_odds(torch.stack([stable, collision_free], -1))
    assert_close(odds, torch.logit(p), atol=1e-3, rtol=1e-3)


def test_certainties_stay_finite_and_ordered() -> None:
    parts = torch.tensor([[-200.0, -200.0], [0.0, 0.0], [5.0, 5.0], [200.0, 200.0]])
    score = success_log_odds(parts)
    assert score.isfinite().all() and (score.diff() > 0).all()


def test_unknown_verdicts_teach_nothing() -> None:
    logits = torch.tensor([[[0.0, 0.0], [2.0, -2.0]]], requires_grad=True)
    stable, collision_free = torch.tensor([[1.0, float("nan")]]), torch.tensor([[float("nan"), 0.0]])
    loss = score_loss(logits, stable, collision_free, torch.ones(1, 2, dtype=torch.bool))
    # -log sigmoid(0) for the first one's stability, -log(1 - sigmoid(-2)) for the second one's clearance.
    assert_close(loss, torch.tensor(0.693147 + 0.126928), atol=1e-5, rtol=0.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[0, 0, 1], gradient[0, 1, 0]) == (0.0, 0.0)
    assert gradient[0, 0, 0] != 0.0 and gradient[0, 1, 1] != 0.0


def with_score(head: ScoreHeadConfig) -> GraspGenerator:
    return small_generator(heads={"anchors": AnchorHeadConfig(), "score": head})


@pytest.mark.parametrize("head", [small_score(), small_token_score()], ids=["surface", "tokens"])
def test_gradients_stay_out_of_the_generator(head: ScoreHeadConfig) -> None:
    module = small_module(with_score(head))
    batch = scene_batch()
    batch = replace(batch, grasp_stable=torch.zeros_like(batch.grasp_stable))
    losses_of(module, batch)["score"].backward()
    generator = module.generator
    assert all(p.grad is None for p in generator.encoder.parameters())
    assert all(p.grad is None for p in generator.decoder.parameters())
    trained = generator.heads["score"].parameters()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


def grasps_on(
    generator: GraspGenerator, moved_by: Tensor | None = None
) -> tuple[DecodedGrasps, SceneContext]:
    """Return grasps that surround the targets of three scenes, all carried along by a motion."""
    batch = scene_batch()
    assert batch.hand_pose is not None and batch.squeeze_qpos is not None
    pose, cloud = GraspPose.from_hand_pose(batch.hand_pose), Cloud.of(batch)
    if moved_by is not None:
        R, t = moved_by[:3, :3], moved_by[:3, 3]
        cloud = replace(
            cloud, points=cloud.points @ R.T + t, viewpoint=cloud.viewpoint @ R.T + t, up=cloud.up @ R.T
        )
        pose = pose.transform(moved_by)
    scene = generator.encode(cloud)
    index = scene.tokens.target.long().argmax(-1, keepdim=True).expand(pose.translation.shape[:2])
    states = generator.states(pose, batch.squeeze_qpos, scene.tokens, index)
    point = generator.codec.reference_point(pose)
    return (
        DecodedGrasps(generator.normalizer.normalize(states), pose, batch.squeeze_qpos, point, index, None),
        scene,
    )


def test_score_of_a_grasp_does_not_depend_on_where_the_scene_is() -> None:
    generator = small_generator()
    T = torch.eye(4)
    T[:2, :2] = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    T[:3, 3] = torch.tensor([0.3, -0.2, 0.1])
    here, there = (generator.score_head(*grasps_on(generator, motion)) for motion in (None, T))
    assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_order_and_padding_of_the_surface_mean_nothing() -> None:
    generator = small_generator()
    score = generator.score_head
    grasps, scene = grasps_on(generator)
    order = torch.randperm(scene.surface.xyz.shape[1], generator=torch.Generator().manual_seed(0))
    s = scene.surface
    shuffled = Surface(s.xyz[:, order], s.normal[:, order], s.target[:, order], s.valid[:, order])
    expected = score(grasps, scene)
    assert_close(score(grasps, replace(scene, surface=shuffled)), expected, atol=1e-5, rtol=1e-5)
    nowhere = torch.zeros_like(s.xyz)  # in the middle of the scene, but not valid
    padded = Surface(
        torch.cat([s.xyz, nowhere], 1),
        torch.cat([s.normal, s.normal], 1),
        torch.cat([s.target, torch.zeros_like(s.target)], 1),
        torch.cat([s.valid, torch.zeros_like(s.valid)], 1),
    )
    assert_close(score(grasps, replace(scene, surface=padded)), expected, atol=1e-5, rtol=1e-5)


def test_a_target_of_fewer_points_than_are_asked_for_is_all_that_counts() -> None:
    """Three points for a head that asks for 12 are those of a head that asks for 3."""
    many, few = small_generator(), with_score(small_score(target_points=3))
    few.load_state_dict(many.state_dict())
    grasps, scene = grasps_on(many)
    s = scene.surface
    only = replace(scene, surface=replace(s, valid=s.valid & (~s.target | (s.target.cumsum(1) <= 3))))
    assert_close(many.score_head(grasps, only), few.score_head(grasps, only), atol=1e-5, rtol=1e-5)


def test_training_hides_points_and_everything_else_shows_all() -> None:
    module = small_module()
    generator, score = module.generator, module.generator.score_head
    grasps, scene = grasps_on(generator)
    every = torch.ones(scene.surface.valid.shape, dtype=torch.bool)
    whole = score(grasps, scene)
    assert torch.equal(score(grasps, scene, every), whole)
    half = every & (torch.arange(every.shape[1]) % 2 > 0)
    assert not torch.allclose(score(grasps, scene, half), whole)
    assert score(grasps, scene, ~every).isfinite().all()
    contexts = {
        training: module.objective.context(generator, scene_batch(), step=0, training=training)
        for training in (True, False)
    }
    kept = contexts[True].surface_kept(score.keep)
    assert kept is not None and 0.4 < kept.float().mean() < 0.8
    assert contexts[False].surface_kept(score.keep) is None and contexts[True].surface_kept(1.0) is None


def test_a_hidden_point_counts_as_one_that_is_not_there() -> None:
    generator = with_score(small_score(target_points=96, other_points=96))  # so that all are looked at
    score = generator.score_head
    grasps, scene = grasps_on(generator)
    kept = torch.rand(scene.surface.valid.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    without = replace(scene, surface=replace(scene.surface, valid=scene.surface.valid & kept))
    # Whether it is collision-free is read off the links' contacts, too, which nothing is hidden from.
    hidden, absent = (score(grasps, *shown)[..., 0] for shown in ((scene, kept), (without,)))
    assert_close(hidden, absent, atol=1e-5, rtol=1e-5)
    assert (hidden - score(grasps, scene)[..., 0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keep": 0.0}, r"model.generator.heads.score: expected keep in \(0, 1\]"),
        ({"widths": (8, 0)}, "model.generator.heads.score.widths: expected at least 1"),
        ({"target_points": 0}, "model.generator.heads.score.target_points: expected at least 1, got 0"),
        ({"contact_scale": float("nan")}, "contact_scale must be positive, got nan"),
    ],
)
def test_sizes_that_no_head_can_have_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        small_score(**changes)


def test_heads_are_chosen_by_name_and_anchors_are_needed() -> None:
    with pytest.raises(ValueError, match=r"model.generator.heads needs 'anchors', .* got \['score'\]"):
        small_generator(heads={"score": small_score()})
    alone = small_generator(heads={"anchors": AnchorHeadConfig()})
    with pytest.raises(ValueError, match=r"This model has no head 'score', .* sampling.rank=log_prob"):
        alone.score_head  # noqa: B018  (a property that refuses)
    with pytest.raises(ValueError, match="This model has no head 'score'"):
        alone.sample(scene_batch(), 2, seeds=(0, 0, 0))


def test_anchors_lie_on_the_target_alone() -> None:
    scene = small_generator().encode(Cloud.of(scene_batch()))
    logits = scene.outputs["anchors"]
    assert set(scene.outputs) == {"anchors"}, "what a head predicts of grasps is not computed with the scene"
    assert torch.equal(logits.isfinite(), scene.tokens.target)
    assert (logits[~scene.tokens.target] == float("-inf")).all()


@pytest.mark.parametrize(("head", "label"), [("score", "grasp_stable"), ("score", "grasp_collision_free")])
def test_a_head_without_its_labels_is_answered_by_a_sentence(head: str, label: str) -> None:
    module = small_module()
    batch = replace(scene_batch(), **{label: None})
    with pytest.raises(
        ValueError,
        match=rf"model.generator.heads.{head} learns from {label}, .* model.objective.terms.{head}.weight=0",
    ):
        losses_of(module, batch)
    off = small_module(objective=small_objective(terms=TERMS | {head: HeadLoss(head=head, weight=0.0)}))
    assert head not in losses_of(off, batch)


def test_a_loss_of_a_head_that_does_not_exist_names_the_nearest() -> None:
    terms = TERMS | {"scores": HeadLoss(head="scores", weight=0.3)}
    module = small_module(objective=small_objective(terms=terms))
    with pytest.raises(ValueError, match=r"Unknown model.generator.heads 'scores'. Did you mean 'score'"):
        losses_of(module, scene_batch())


def test_surface_is_the_cloud_and_its_nearest_point_is_found() -> None:
    surface = small_generator().encode(Cloud.of(scene_batch())).surface
    assert surface.xyz.shape == (3, 32, 3)
    assert_close(surface.normal.norm(dim=-1), torch.ones(3, 32), atol=1e-4, rtol=0.0)
    queries = torch.randn(3, 40, 5, 3, generator=torch.Generator().manual_seed(0)) * 0.05
    for away, hidden in ((0.0, 0), (3.0, 0), (0.0, 9)):  # metres from the origin; points that do not count
        shown = replace(surface, xyz=surface.xyz + away, valid=torch.arange(32).expand(3, 32) >= hidden)
        offset = (queries + away)[:, :, :, None].double() - shown.xyz[:, None, None].double()
        distance = offset.norm(dim=-1).masked_fill(~shown.valid[:, None, None], float("inf"))
        assert torch.equal(shown.nearest(queries + away), distance.argmin(-1))


def test_half_a_metre_away_the_nearest_point_is_found_to_a_tenth_of_a_millimetre() -> None:
    """Where the products of coordinates on a CPU lose the most: a patch of points far from the cloud's first one."""
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(2, 200, 3, generator=generator) * 0.02 + torch.tensor([0.5, 0.0, 0.0])
    xyz[:, 0] = 0.0
    every = torch.ones(2, 200, dtype=torch.bool)
    queries = torch.rand(2, 4, 100, 3, generator=generator) * 0.03 + torch.tensor([0.495, -0.005, -0.005])
    found = Surface(xyz, xyz, every, every).nearest(queries)
    distance = (queries[:, :, :, None].double() - xyz[:, None, None].double()).norm(dim=-1)
    excess = distance.gather(-1, found[..., None])[..., 0] - distance.amin(-1)
    assert excess.max() <= 1e-4
