"""The whole model on every process: it learns, samples by what fits it, and refuses what does not."""

import copy

import pytest
import torch

from factories.mixture import PATHS
from factories.models import (
    losses_of,
    scene_batch,
    set_statistics_from,
    small_generator,
    small_module,
    small_objective,
    small_sampling,
)
from sceneleapultra.models.diffusion.ancestral import DDPM
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.process import Diffusion
from sceneleapultra.models.statistics import compute_statistics

FITTING = [
    ("edm", "x0", "edm", ("ddim", "edm_heun")),
    ("edm", "eps", "snr", ("dopri5",)),
    ("flow", "u", "velocity", ("euler", "heun")),
    ("flow", "v", "uniform", ("rk4",)),
    ("linear", "v", "snr", ("dpmpp_2m",)),
    ("ddpm", "v", "edm", ("ddpm", "ddim")),
    ("cosine", "u", "velocity", ("midpoint",)),
]


@pytest.mark.parametrize(("noise", "prediction", "kind", "solvers"), FITTING)
def test_every_process_trains_and_samples(noise, prediction, kind, solvers):
    module = small_module(
        small_generator(process=Diffusion(noise=PATHS[noise], prediction=prediction)),
        small_objective(weighting=LossWeighting(kind=kind, maximum=100.0)),
    )
    batch, generator = scene_batch(), module.generator
    set_statistics_from(module, batch)
    module.objective.total(losses_of(module, batch, 3), 3).backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
    assert generator.decoder.out.weight.grad.abs().sum() > 0
    for name in solvers:
        changes = {"solver": name, "steps": 4 if name != "dopri5" else None}
        made = generator.sample(batch.item(0), 3, seeds=[0], sampling=changes)
        assert torch.isfinite(made.hand_pose).all() and made.nfe >= 4


def test_statistics_of_the_states_reach_the_process():
    """EDM's preconditioning divides by the spread of clean states, which is 1 but for strays."""
    process = Diffusion(noise=copy.deepcopy(PATHS["edm"]), prediction="x0")
    module = small_module(small_generator(process=process))
    set_statistics_from(module, scene_batch())
    found = compute_statistics(module, [scene_batch()], {"frame": "tabletop", "data_hash": "x"})
    assert found.spread != 1.0
    assert float(process.noise.sigma_data) == pytest.approx(found.spread)


def test_a_default_solver_that_does_not_fit_is_refused_when_the_generator_is_built():
    solver = DDPM(steps=4, spacing="trailing", temperature=1.0, clip_x0=4.0)
    flow = Diffusion(noise=PATHS["flow"], prediction="u")
    with pytest.raises(ValueError, match=r"solver=ddpm steps through.*process=flow is none"):
        small_generator(process=flow, sampling=small_sampling(solver=solver))
    with pytest.raises(ValueError, match=r"prediction=eps cannot recover x0"):
        Diffusion(noise=PATHS["cosine"], prediction="eps")
    linear = small_generator(process=Diffusion(noise=PATHS["linear"], prediction="v"))
    with pytest.raises(ValueError, match=r"weighting=velocity weighs the error of u"):
        small_module(linear, small_objective(weighting=LossWeighting(kind="velocity", maximum=None)))
