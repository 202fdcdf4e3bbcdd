"""Likelihood along the flow against densities known in closed form."""

import pytest
import torch
from torch.testing import assert_close

from factories.mixture import MIXTURE, PATHS, noise_source
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
    process, x0 = PATHS[name], points()
    # Where sampling stops, a little noise is left: sigma(t_min) / alpha(t_min), at most 0.045.
    t = torch.tensor([process.t_min], dtype=torch.float64)
    expected = MIXTURE.add_noise(process.alpha(t), process.sigma(t)).log_density(process.alpha(t) * x0)
    expected = expected + 2 * process.alpha(t).log()
    found = log_likelihood(MIXTURE.expected_x0_of(process), process, x0, steps=steps, probes=None, rng=None)
    assert found.nfe == 4 * steps
    assert_close(found.log_prob, expected, atol=error, rtol=0)
    if name != "linear":  # there the noise that is left, 0.045, blurs the density by up to 0.06
        assert_close(expected, MIXTURE.log_density(x0), atol=0.02, rtol=0)


def test_probes_estimate_the_divergence_without_bias():
    process, x0, denoise = PATHS["flow"], points(), MIXTURE.expected_x0_of(PATHS["flow"])
    exact = log_likelihood(denoise, process, x0, steps=4, probes=None, rng=None).divergence
    estimates = torch.stack(
        [
            log_likelihood(denoise, process, x0, steps=4, probes=10, rng=noise_source(seed)).divergence
            for seed in range(16)
        ]
    )
    # Standard errors of a mean of 16; beyond 5 of Student's t with 15 degrees of freedom in 2 of 10,000 cases.
    error = (estimates.mean(0) - exact) / (estimates.std(0) / 16**0.5)
    assert error.abs().max() < 5


def test_settings_are_those_of_the_group_and_bad_ones_are_refused():
    assert build(load_group("sampling/rank", "log_prob")).flow == FlowRank(steps=8, probes=4)
    with pytest.raises(ValueError, match=r"rank\.flow\.steps and probes must be at least 1"):
        FlowRank(steps=0, probes=None)
    with pytest.raises(ValueError, match=r"process=ddpm is known at discrete steps only"):
        process = PATHS["ddpm"]
        log_likelihood(MIXTURE.expected_x0_of(process), process, points(), steps=2, probes=None, rng=None)
