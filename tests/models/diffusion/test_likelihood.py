"""Likelihood along the flow against densities known in closed form."""

import pytest
import torch
from torch.testing import assert_close

from factories.mixture import MIXTURE, PATHS
from sceneleapultra.models.diffusion.likelihood import FlowRank, log_likelihood
from sceneleapultra.utils.core.config import build, load_group


def points() -> torch.Tensor:
    axis = torch.linspace(-1.5, 1.5, 5, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)[None]


# EDM is taken to start from N(0, 80^2), whatever the mean of the data: an error of about |mean| / 80 = 0.01.
@pytest.mark.parametrize(
    ("name", "steps", "error"),
    [("cosine", 60, 2e-3), ("flow", 60, 2e-3), ("linear", 60, 2e-3), ("edm", 120, 1e-2)],
)
def test_log_likelihood_of_a_mixture_is_its_log_density(name, steps, error):
    path, x0 = PATHS[name], points()
    # Where sampling stops, a little noise is left: sigma(t_min) / alpha(t_min), at most 0.045.
    t = torch.tensor([path.t_min], dtype=torch.float64)
    expected = MIXTURE.noised(path.alpha(t), path.sigma(t)).log_density(path.alpha(t) * x0)
    expected = expected + 2 * path.alpha(t).log()
    found = log_likelihood(MIXTURE.expected_x0_of(path), path, x0, steps=steps, probes=None, generator=None)
    assert found.nfe == 4 * steps
    assert_close(found.log_prob, expected, atol=error, rtol=0)
    if name != "linear":  # there the noise that is left, 0.045, blurs the density by up to 0.06
        assert_close(expected, MIXTURE.log_density(x0), atol=0.02, rtol=0)


def test_probes_estimate_the_divergence_without_bias():
    path, x0 = PATHS["flow"], points()
    settings = {"steps": 4, "generator": torch.Generator().manual_seed(0)}
    exact = log_likelihood(MIXTURE.expected_x0_of(path), path, x0, probes=None, **settings)
    found = log_likelihood(MIXTURE.expected_x0_of(path), path, x0, probes=100, **settings)
    # The deviation of one probe is at most twice the off-diagonal part of the Jacobian, about 0.5 here: 0.05 for 100.
    assert_close(found.divergence, exact.divergence, atol=0.2, rtol=0)


def test_settings_are_those_of_the_group_and_bad_ones_are_refused():
    for name in ("log_prob", "divergence"):
        assert build(load_group("rank", name)).by == name
    with pytest.raises(ValueError, match=r"rank\.by must be log_prob or divergence, got luck"):
        FlowRank(by="luck", steps=4, probes=None)
    with pytest.raises(ValueError, match=r"rank\.steps and rank\.probes must be at least 1"):
        FlowRank(by="log_prob", steps=0, probes=None)
    with pytest.raises(ValueError, match=r"model\.path=ddpm is known at discrete steps only"):
        path = PATHS["ddpm"]
        log_likelihood(MIXTURE.expected_x0_of(path), path, points(), steps=2, probes=None, generator=None)
