"""Paths: variance preserved, terminal signal, and every prediction converts back to the sample it came from."""

import pytest
import torch
from torch.testing import assert_close

from models.diffusion.path import CosinePath, LinearPath

PATHS = [
    CosinePath(),
    LinearPath(beta_min=0.1, beta_max=20.0, zero_terminal_snr=True),
    LinearPath(beta_min=0.1, beta_max=20.0, zero_terminal_snr=False),
]


@pytest.mark.parametrize("path", PATHS)
def test_variance_is_preserved_and_ends_are_exact(path):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t), atol=1e-9, rtol=0)
    assert path.alpha(t)[0] == 1.0 and path.sigma(t)[0] == 0.0
    assert path.alpha(t)[-1].item() == pytest.approx(path.terminal_alpha, abs=1e-12)
    assert (path.alpha(t).diff() < 0).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prediction", ["x0", "eps", "v"])
def test_target_converts_back_to_x0(path, prediction):
    x0 = torch.randn(9, 4, 3, dtype=torch.float64)
    eps = torch.randn_like(x0)
    t = torch.linspace(0.05, 0.95, 9, dtype=torch.float64)
    x_t = path.noised(x0, eps, t)
    back = path.to_x0(prediction, path.target(prediction, x0, eps, t), x_t, t)
    assert_close(back, x0, atol=1e-8, rtol=0)


def test_eps_is_refused_where_it_is_undefined():
    with pytest.raises(ValueError, match="eps cannot recover x0 at t = 1"):
        CosinePath().check("eps")
    PATHS[2].check("eps")


@pytest.mark.untyped
def test_unknown_prediction_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'eps'"):
        CosinePath().check("epss")
