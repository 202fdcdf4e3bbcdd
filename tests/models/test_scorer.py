"""The scorer's two parts: put together by probability, learned where they are known."""

from dataclasses import replace

import torch
from models_under_test import scene_batch, small_model
from torch.testing import assert_close

from models.losses import score_loss
from models.sampling import cloud_of
from models.scorer.base import success_log_odds


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


def test_gradients_stay_out_of_the_generator() -> None:
    model = small_model()
    batch = scene_batch()
    batch = replace(batch, grasp_hold=torch.zeros_like(batch.grasp_hold))
    model.losses(batch, model.draw(batch, 0, model.denoiser.encoder.num_tokens))["score"].backward()
    assert all(p.grad is None for p in model.denoiser.encoder.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.scorer.parameters())


def test_surface_is_the_cloud_and_its_nearest_point_is_found() -> None:
    model = small_model()
    surface = model.denoiser.encode(cloud_of(scene_batch())).surface
    assert surface.xyz.shape == (3, 32, 3)
    assert_close(surface.normal.norm(dim=-1), torch.ones(3, 32), atol=1e-4, rtol=0.0)
    queries = torch.randn(3, 4, 5, 3) * 0.05
    expected = (queries[:, :, :, None] - surface.xyz[:, None, None]).norm(dim=-1).argmin(-1)
    assert torch.equal(surface.nearest(queries), expected)
