"""Weights: each is the error of the clean sample seen as that of what a network predicts."""

import pytest
import torch
from torch.testing import assert_close

from factories.mixture import PATHS
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group


@pytest.mark.parametrize(
    ("kind", "prediction", "path_name"),
    [
        ("uniform", "x0", "cosine"),
        ("snr", "eps", "linear_raw"),
        ("edm", "v", "cosine"),
        ("edm", "v", "linear"),
        ("edm", "x0", "edm"),
        ("velocity", "u", "flow"),
        ("velocity", "u", "cosine"),
    ],
)
def test_weighted_error_of_x0_is_the_error_of_the_prediction(kind, prediction, path_name):
    process = PATHS[path_name]
    t = process.on_grid(torch.linspace(max(0.05, process.t_min), 0.9, 8, dtype=torch.float64))
    x0, eps = torch.randn(8, 3, 2, dtype=torch.float64), torch.randn(8, 3, 2, dtype=torch.float64)
    x_t = process.add_noise(x0, eps, t)
    truth = process.target(prediction, x0, eps, t)
    wrong = truth + torch.randn_like(truth)
    error = (process.to_x0(prediction, wrong, x_t, t) - x0).square()
    weight = LossWeighting(kind=kind, maximum=None)(process, t)
    assert_close(weight[:, None, None] * error, (wrong - truth).square(), atol=1e-9, rtol=1e-6)


def test_bounds_hold_and_every_weight_is_finite():
    for process in PATHS.values():
        t = torch.linspace(0, 1, 50)
        for kind in ("uniform", "snr", "edm"):
            assert torch.isfinite(LossWeighting(kind=kind, maximum=None)(process, t)).all()
            assert LossWeighting(kind=kind, maximum=5.0)(process, t).max() <= 5.0


def test_min_snr_is_the_ratio_bounded_by_gamma():
    process, t = PATHS["cosine"], torch.tensor([0.1, 0.5, 0.9])
    snr = (process.alpha(t) / process.sigma(t)) ** 2  # 39.9, 1, 0.025
    weight = build(load_group("model/objective/weighting", "min_snr"))(process, t)
    assert_close(weight, snr.clamp(max=5.0), atol=1e-6, rtol=1e-6)


def test_velocity_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match=r"weighs the error of u, which process=vp_linear does not have"):
        LossWeighting(kind="velocity", maximum=None).check(PATHS["linear"])
    files = list((CONFIG_DIR / "model" / "objective" / "weighting").glob("*.yaml"))
    assert len(files) == 6
    for file in files:
        build(load_group("model/objective/weighting", file.stem)).check(PATHS["flow"])


@pytest.mark.untyped
def test_bad_weights_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'uniform'"):
        LossWeighting(kind="unifrom", maximum=None)
    with pytest.raises(ValueError, match="must be positive or null, got 0"):
        LossWeighting(kind="snr", maximum=0.0)
