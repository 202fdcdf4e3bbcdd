"""The scorer's two parts: put together by probability, learned where they are known."""

from dataclasses import replace

import pytest
import torch
from sceneleapultra.models.denoiser import SceneContext
from sceneleapultra.models.diffuser import GraspDiffuser
from sceneleapultra.models.network.scorer.base import FinishedGrasps, ScorerConfig, success_log_odds
from torch import Tensor
from torch.testing import assert_close

from factories.models import scene_batch, small_model, small_scorer, small_token_scorer
from sceneleapultra.hands import GraspPose
from sceneleapultra.models.losses import score_loss
from sceneleapultra.models.network.surface import Surface
from sceneleapultra.models.sampling import cloud_of


def test_log_odds_of_both_parts() -> None:
    hold, clear = torch.tensor([0.0, 2.0, -3.0, 9.0]), torch.tensor([0.0, -1.0, 4.0, 20.0])
    p = hold.sigmoid() * clear.sigmoid()
    assert_close(success_log_odds(torch.stack([hold, clear], -1)), torch.logit(p), atol=1e-3, rtol=1e-3)


def test_certainties_stay_finite_and_ordered() -> None:
    parts = torch.tensor([[-200.0, -200.0], [0.0, 0.0], [5.0, 5.0], [200.0, 200.0]])
    score = success_log_odds(parts)
    assert score.isfinite().all() and (score.diff() > 0).all()


def test_unknown_verdicts_teach_nothing() -> None:
    logits = torch.tensor([[[0.0, 0.0], [2.0, -2.0]]], requires_grad=True)
    hold, clear = torch.tensor([[1.0, float("nan")]]), torch.tensor([[float("nan"), 0.0]])
    loss = score_loss(logits, hold, clear, torch.ones(1, 2, dtype=torch.bool))
    # -log sigmoid(0) for the first one's hold, -log(1 - sigmoid(-2)) for the second one's clearance.
    assert_close(loss, torch.tensor(0.693147 + 0.126928), atol=1e-5, rtol=0.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[0, 0, 1], gradient[0, 1, 0]) == (0.0, 0.0)
    assert gradient[0, 0, 0] != 0.0 and gradient[0, 1, 1] != 0.0


@pytest.mark.parametrize("scorer", [small_scorer(), small_token_scorer()], ids=["surface", "tokens"])
def test_gradients_stay_out_of_the_generator(scorer: ScorerConfig) -> None:
    model = small_model(scorer=scorer)
    batch = scene_batch()
    batch = replace(batch, grasp_stable=torch.zeros_like(batch.grasp_stable))
    model.losses(batch, model.draw(batch, 0, model.denoiser.encoder.num_tokens))["score"].backward()
    assert all(p.grad is None for p in model.denoiser.encoder.parameters())
    assert any(
        p.grad is not None and p.grad.abs().sum() > 0 for p in model.generator.heads.score.parameters()
    )


def asked(model: GraspDiffuser, moved_by: Tensor | None = None) -> tuple[FinishedGrasps, SceneContext]:
    """Return three scenes of grasps that surround their targets, all carried along by a motion."""
    batch = scene_batch()
    assert batch.hand_pose is not None and batch.squeeze_qpos is not None
    pose, cloud = GraspPose.from_hand_pose(batch.hand_pose), cloud_of(batch)
    if moved_by is not None:
        R, t = moved_by[:3, :3], moved_by[:3, 3]
        cloud = replace(
            cloud, points=cloud.points @ R.T + t, viewpoint=cloud.viewpoint @ R.T + t, up=cloud.up @ R.T
        )
        pose = pose.transform(moved_by)
    scene = model.denoiser.encode(cloud)
    index = scene.tokens.target.long().argmax(-1, keepdim=True).expand(pose.translation.shape[:2])
    states = model.denoiser.normalizer.normalize(
        model.denoiser.states(pose, batch.squeeze_qpos, scene.tokens, index)
    )
    point = model.denoiser.codec.reference_point(pose)
    return FinishedGrasps(states, pose, batch.squeeze_qpos, point, index), scene


def test_score_of_a_grasp_does_not_depend_on_where_the_scene_is() -> None:
    model = small_model().eval()
    T = torch.eye(4)
    T[:2, :2] = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    T[:3, 3] = torch.tensor([0.3, -0.2, 0.1])
    assert_close(
        model.generator.heads.score(*asked(model)),
        model.generator.heads.score(*asked(model, T)),
        atol=1e-4,
        rtol=1e-4,
    )


def test_order_and_padding_of_the_surface_mean_nothing() -> None:
    model = small_model().eval()
    grasps, scene = asked(model)
    order = torch.randperm(scene.surface.xyz.shape[1], generator=torch.Generator().manual_seed(0))
    s = scene.surface
    shuffled = Surface(s.xyz[:, order], s.normal[:, order], s.target[:, order], s.valid[:, order])
    expected = model.generator.heads.score(grasps, scene)
    assert_close(
        model.generator.heads.score(grasps, replace(scene, surface=shuffled)), expected, atol=1e-5, rtol=1e-5
    )
    nowhere = torch.zeros_like(s.xyz)  # in the middle of the scene, but not valid
    padded = Surface(
        torch.cat([s.xyz, nowhere], 1),
        torch.cat([s.normal, s.normal], 1),
        torch.cat([s.target, torch.zeros_like(s.target)], 1),
        torch.cat([s.valid, torch.zeros_like(s.valid)], 1),
    )
    assert_close(
        model.generator.heads.score(grasps, replace(scene, surface=padded)), expected, atol=1e-5, rtol=1e-5
    )


def test_a_target_of_fewer_points_than_are_asked_for_is_all_that_counts() -> None:
    """Three points seen by a scorer that asks for 12 are those seen by one that asks for 3."""
    many, few = small_model(), small_model(scorer=small_scorer(target_points=3))
    few.load_state_dict(many.state_dict())
    grasps, scene = asked(many)
    s = scene.surface
    only = replace(scene, surface=replace(s, valid=s.valid & (~s.target | (s.target.cumsum(1) <= 3))))
    assert_close(many.scorer(grasps, only), few.scorer(grasps, only), atol=1e-5, rtol=1e-5)


def test_training_hides_points_and_everything_else_shows_all() -> None:
    model = small_model()
    grasps, scene = asked(model)
    every = torch.ones(scene.surface.valid.shape, dtype=torch.bool)
    whole = model.generator.heads.score(grasps, scene)
    assert torch.equal(model.generator.heads.score(grasps, scene, every), whole)
    assert not torch.allclose(
        model.generator.heads.score(grasps, scene, every & (torch.arange(every.shape[1]) % 2 > 0)), whole
    )
    assert model.generator.heads.score(grasps, scene, ~every).isfinite().all()
    kept = model.draw(scene_batch(), 0, model.denoiser.encoder.num_tokens).kept
    assert kept is not None and 0.4 < kept.float().mean() < 0.8


def test_a_hidden_point_counts_as_one_that_is_not_there() -> None:
    model = small_model(scorer=small_scorer(target_points=96, other_points=96))  # so that all are looked at
    grasps, scene = asked(model)
    kept = torch.rand(scene.surface.valid.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    without = replace(scene, surface=replace(scene.surface, valid=scene.surface.valid & kept))
    # Being clear is told by the links' contacts, too, which nothing is hidden from.
    hidden, absent = (
        model.generator.heads.score(grasps, *given)[..., 0] for given in ((scene, kept), (without,))
    )
    assert_close(hidden, absent, atol=1e-5, rtol=1e-5)
    assert (hidden - model.generator.heads.score(grasps, scene)[..., 0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keep": 0.0}, r"keep in \(0, 1\]"),
        ({"widths": (8, 0)}, "model.generator.heads.score.widths: expected at least 1"),
        ({"target_points": 0}, "model.generator.heads.score.target_points: expected at least 1, got 0"),
        ({"contact_scale": float("nan")}, "contact_scale must be positive, got nan"),
    ],
)
def test_sizes_that_no_scorer_can_have_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        small_scorer(**changes)


def test_surface_is_the_cloud_and_its_nearest_point_is_found() -> None:
    model = small_model()
    surface = model.denoiser.encode(cloud_of(scene_batch())).surface
    assert surface.xyz.shape == (3, 32, 3)
    assert_close(surface.normal.norm(dim=-1), torch.ones(3, 32), atol=1e-4, rtol=0.0)
    queries = torch.randn(3, 40, 5, 3, generator=torch.Generator().manual_seed(0)) * 0.05
    for away, hidden in ((0.0, 0), (3.0, 0), (0.0, 9)):  # metres from the origin; points that do not count
        seen = replace(surface, xyz=surface.xyz + away, valid=torch.arange(32).expand(3, 32) >= hidden)
        offset = (queries + away)[:, :, :, None].double() - seen.xyz[:, None, None].double()
        distance = offset.norm(dim=-1).masked_fill(~seen.valid[:, None, None], float("inf"))
        assert torch.equal(seen.nearest(queries + away), distance.argmin(-1))


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
