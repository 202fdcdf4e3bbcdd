"""The whole model on every process: it learns, samples by what fits it, and refuses what does not."""

import pytest
import torch

from factories.mixture import PATHS
from factories.models import adopt_from, scene_batch, small_model
from sceneleapultra.models import GraspModel
from sceneleapultra.models.diffusion.weighting import LossWeighting

FITTING = [
    ("edm", "x0", "edm", ("ddim", "edm_heun")),
    ("edm", "eps", "snr", ("dopri5",)),
    ("flow", "u", "velocity", ("euler", "heun")),
    ("flow", "v", "uniform", ("rk4",)),
    ("linear", "v", "snr", ("dpmpp_2m",)),
    ("ddpm", "v", "edm", ("ddpm", "ddim")),
    ("cosine", "u", "velocity", ("midpoint",)),
]


@pytest.mark.parametrize(("path", "prediction", "kind", "samplers"), FITTING)
def test_every_process_trains_and_samples(path, prediction, kind, samplers):
    model = small_model(
        path=PATHS[path], prediction=prediction, weighting=LossWeighting(kind=kind, maximum=100.0)
    )
    batch = scene_batch()
    adopt_from(model, batch)
    terms = model.losses(batch, model.draw(batch, 3, 24))
    sum(model.loss_weights[name] * term for name, term in terms.items()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.denoiser.decoder.out.weight.grad.abs().sum() > 0
    chosen = GraspModel(module=model, cloud_settings={}).chosen_sampler
    for name in samplers:
        steps = 4 if name != "dopri5" else None
        made = model.forward_infer(batch, 3, sampler=chosen(name, steps=steps))
        assert torch.isfinite(made.hand_pose).all() and made.nfe >= 4


def test_a_default_sampler_that_does_not_fit_is_refused_when_the_model_is_built():
    from sceneleapultra.models.diffusion.ancestral import DDPM

    sampler = DDPM(steps=4, spacing="trailing", temperature=1.0, clip_x0=4.0)
    with pytest.raises(ValueError, match=r"sampler=ddpm steps through.*model\.path=flow is none"):
        small_model(path=PATHS["flow"], sampler=sampler)
    with pytest.raises(ValueError, match=r"model\.prediction=eps cannot recover x0"):
        small_model(prediction="eps")
    with pytest.raises(ValueError, match=r"model\.weighting=velocity weighs the error of u"):
        small_model(path=PATHS["linear"], weighting=LossWeighting(kind="velocity", maximum=None))
