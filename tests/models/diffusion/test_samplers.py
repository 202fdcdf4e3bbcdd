"""Samplers against data whose exact denoiser is known in closed form: a Gaussian with correlated dimensions."""

import pytest
import torch
from torch.testing import assert_close

from models.diffusion.ancestral import DDIM, DDPM
from models.diffusion.path import CosinePath, LinearPath, Path
from models.diffusion.samplers import time_grid

MEAN = torch.tensor([0.5, -0.3])
COV = torch.tensor([[0.5, 0.2], [0.2, 0.3]])


def exact_x0(path: Path):
    """E[x0 | x_t] for Gaussian data: mean + alpha C (alpha^2 C + sigma^2 I)^-1 (x_t - alpha mean)."""

    def denoise(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a, s = path.alpha(t[:1]).to(x_t.dtype), path.sigma(t[:1]).to(x_t.dtype)
        cov = COV.to(x_t.dtype)
        gain = a * cov @ torch.linalg.inv(a**2 * cov + s**2 * torch.eye(2, dtype=x_t.dtype))
        return MEAN.to(x_t.dtype) + (x_t - a * MEAN.to(x_t.dtype)) @ gain.T

    return denoise


PATHS = {
    "cosine": CosinePath(),
    "linear": LinearPath(beta_min=0.1, beta_max=20.0, zero_terminal_snr=True),
    "linear_raw": LinearPath(beta_min=0.1, beta_max=20.0, zero_terminal_snr=False),
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samplers_recover_mean_and_covariance(path, eta):
    generator = torch.Generator().manual_seed(0)
    n = 40_000
    sampler = DDIM(steps=200, spacing="trailing", eta=eta, temperature=1.0, clip_x0=None)
    noise = torch.randn(1, n, 2, generator=generator)
    x = sampler(exact_x0(path), path, noise, generator).x0[0]
    # Standard error of a mean is at most sqrt(0.5 / n) = 0.0035 and of a covariance about 0.0035; four of each, and
    # 0.01 for the first-order discretisation error at 200 steps.
    assert_close(x.mean(0), MEAN, atol=0.024, rtol=0)
    assert_close(torch.cov(x.T), COV, atol=0.024, rtol=0)


def test_ddim_converges_with_first_order():
    path = CosinePath()
    noise = torch.randn(1, 64, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def solve(steps: int) -> torch.Tensor:
        sampler = DDIM(steps=steps, spacing="trailing", eta=0.0, temperature=1.0, clip_x0=None)
        return sampler(exact_x0(path), path, noise, None).x0

    reference = solve(4096)
    errors = [(solve(steps) - reference).abs().max() for steps in (32, 64, 128)]
    orders = [torch.log2(errors[i] / errors[i + 1]).item() for i in range(2)]
    assert all(0.8 < order < 1.3 for order in orders), orders


def test_ancestral_step_has_the_moments_of_the_posterior():
    """One step from t to s with a known x0 must be N(mean, var) of Ho et al. 2020 eq. 6-7, written out here."""
    path = CosinePath()
    x0, x_t = torch.tensor([[[0.7, -0.2]]]), torch.tensor([[[0.1, 0.9]]])
    steps = 4  # times 1, .75, .5, .25, 0; look at the first step from 1 to .75 through a two-step run
    times = time_grid(path, steps, "trailing", x_t)
    a_t, s_t = path.alpha(times[1]), path.sigma(times[1])
    a_s, s_s = path.alpha(times[2]), path.sigma(times[2])
    a_ts = a_t / a_s
    var_ts = s_t**2 - a_ts**2 * s_s**2
    mean = (a_ts * s_s**2 * x_t + a_s * var_ts * x0) / s_t**2
    var = var_ts * s_s**2 / s_t**2
    eps = (x_t - a_t * x0) / s_t
    ddim_mean = a_s * x0 + (s_s**2 - var).sqrt() * eps
    assert_close(ddim_mean, mean, atol=1e-6, rtol=1e-6)


def test_same_generator_gives_the_same_samples_and_nfe_is_counted():
    path = CosinePath()
    calls = 0

    def counting(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return exact_x0(path)(x_t, t)

    sampler = DDPM(steps=7, spacing="trailing", temperature=1.0, clip_x0=3.0)
    noise = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    one = sampler(counting, path, noise, torch.Generator().manual_seed(3))
    two = sampler(exact_x0(path), path, noise, torch.Generator().manual_seed(3))
    assert_close(one.x0, two.x0, atol=0, rtol=0)
    assert one.nfe == calls == 7


def test_temperature_zero_starts_from_the_mode():
    path = CosinePath()
    sampler = DDIM(steps=50, spacing="trailing", eta=0.0, temperature=0.0, clip_x0=None)
    x = sampler(exact_x0(path), path, torch.randn(1, 3, 2), None).x0
    assert_close(x, MEAN.expand_as(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "sampler.steps must be at least 1, got 0"),
        ({"eta": 1.5}, "sampler.eta must lie in"),
        ({"temperature": -1.0}, "temperature must not be negative"),
    ],
)
@pytest.mark.untyped
def test_impossible_settings_are_refused(change, message):
    settings = {
        "steps": 5,
        "spacing": "trailing",
        "eta": 0.0,
        "temperature": 1.0,
        "clip_x0": None,
    }
    with pytest.raises(ValueError, match=message):
        DDIM(**{**settings, **change})
