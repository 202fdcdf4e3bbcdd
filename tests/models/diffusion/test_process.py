"""Paths: ends, derivatives, inverses, and every prediction converts back to the sample it came from."""

import math

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from factories.mixture import PATHS
from sceneleapultra.models.diffusion.discrete import DiscreteProcess, discrete_view
from sceneleapultra.models.diffusion.edm import EDMProcess
from sceneleapultra.models.diffusion.flow import FlowProcess, optimal_pairing
from sceneleapultra.models.diffusion.process import CosineProcess, LinearProcess

CONTINUOUS = {name: process for name, process in PATHS.items() if process.continuous}
PREDICTIONS = ("x0", "eps", "v", "u")


def flow(
    timing: str = "uniform", parameters: tuple[float, float] = (0.0, 1.0), coupling: str = "independent"
):
    return FlowProcess(timing=timing, timing_parameters=parameters, coupling=coupling)


@pytest.mark.parametrize("process", PATHS.values(), ids=PATHS)
def test_ends_are_exact_and_noise_grows(process):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha, sigma = process.alpha(t), process.sigma(t)
    assert alpha[0] == 1.0 and sigma[0] == 0.0
    assert alpha[-1].item() == pytest.approx(process.terminal_alpha, abs=1e-12)
    assert ((sigma / alpha)[:-1].diff() > 0).all()
    if process.variance_preserving:
        assert_close(alpha**2 + sigma**2, torch.ones_like(t), atol=1e-9, rtol=0)
        assert process.prior_scale == 1.0
    else:
        assert sigma[-1].item() == pytest.approx(process.prior_scale)


@pytest.mark.parametrize("process", CONTINUOUS.values(), ids=CONTINUOUS)
def test_derivatives_are_those_of_the_scales(process):
    t = torch.linspace(process.t_min, 0.999, 50, dtype=torch.float64, requires_grad=True)
    for scale, rate in ((process.alpha, process.alpha_dot), (process.sigma, process.sigma_dot)):
        value = scale(t).sum()
        if value.requires_grad and value.grad_fn is not None:
            (expected,) = torch.autograd.grad(value, t, allow_unused=True, materialize_grads=True)
        else:
            expected = torch.zeros_like(t)
        assert_close(rate(t).detach(), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("process", CONTINUOUS.values(), ids=CONTINUOUS)
def test_time_of_a_noise_level_is_the_inverse(process):
    t = torch.linspace(process.t_min, 0.99, 50, dtype=torch.float64)
    assert_close(process.time_at(process.sigma(t) / process.alpha(t)), t, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("path_name", "prediction"),
    [(name, p) for name, process in PATHS.items() for p in PREDICTIONS if p not in process.refused],
)
def test_target_converts_back_to_x0(path_name, prediction):
    process = PATHS[path_name]
    x0 = torch.randn(9, 4, 3, dtype=torch.float64)
    eps = torch.randn_like(x0)
    t = process.on_grid(torch.linspace(max(0.05, process.t_min), 0.95, 9, dtype=torch.float64))
    x_t = process.add_noise(x0, eps, t)
    back = process.to_x0(prediction, process.target(prediction, x0, eps, t), x_t, t)
    assert_close(back, x0, atol=1e-8, rtol=0)


@pytest.mark.parametrize("process", CONTINUOUS.values(), ids=CONTINUOUS)
def test_velocity_is_the_target_u(process):
    """With the very noise that made x_t, the flow runs along d x_t / dt."""
    x0, eps = torch.randn(7, 2, 3, dtype=torch.float64), torch.randn(7, 2, 3, dtype=torch.float64)
    t = torch.linspace(process.t_min, 0.9, 7, dtype=torch.float64)
    u = process.velocity(process.add_noise(x0, eps, t), x0, t)
    assert_close(u, process.target("u", x0, eps, t), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("process", "prediction", "message"),
    [
        ("cosine", "eps", "prediction=eps cannot recover x0 at t = 1"),
        ("flow", "eps", "prediction=eps cannot recover x0 at t = 1"),
        (
            "linear",
            "u",
            "prediction=u is infinite at t = 0 on process=vp_linear",
        ),
        (
            "edm",
            "v",
            "prediction=v grows with sigma without bound on process=edm",
        ),
        ("edm", "u", "prediction=u grows with sigma"),
        ("ddpm", "u", "prediction=u needs a path with a derivative"),
    ],
)
def test_what_is_undefined_is_refused_with_the_remedy(process, prediction, message):
    with pytest.raises(ValueError, match=message):
        PATHS[process].check(prediction)
    PATHS["linear_raw"].check("eps")


@pytest.mark.untyped
def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'eps'"):
        CosineProcess().check("epss")
    with pytest.raises(ValueError, match="Did you mean 'beta'"):
        flow(timing="betta")
    with pytest.raises(ValueError, match="Did you mean 'optimal'"):
        flow(coupling="optimla")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: LinearProcess(beta_min=2.0, beta_max=1.0, zero_terminal_snr=True),
            "0 < beta_min < beta_max",
        ),
        (
            lambda: EDMProcess(sigma_min=1.0, sigma_max=0.5, rho=7.0, log_sigma_mean=0.0, log_sigma_std=1.0),
            "0 < sigma_min < sigma_max",
        ),
        (lambda: flow("beta", (0.0, 1.0)), "beta two positive ones"),
        (lambda: flow("logit_normal", (0.0, 0.0)), "logit_normal needs a positive second number"),
        (lambda: discrete_view(process=CosineProcess(), num_steps=0), "num_steps must be at least 1"),
        (
            lambda: discrete_view(process=flow(), num_steps=9),
            "process=flow does not",
        ),
        (lambda: DiscreteProcess(alphas=torch.tensor([0.5, 0.7])), "signal scales that fall"),
    ],
)
def test_impossible_paths_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (CosineProcess(), stats.uniform()),
        (flow(), stats.uniform()),
        (flow("beta", (1.5, 1.0)), stats.beta(1.5, 1.0)),
    ],
    ids=["cosine", "flow", "beta"],
)
def test_training_times_have_the_distribution_they_are_said_to_have(process, expected):
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    assert stats.kstest(process.sample_t(u).numpy(), expected.cdf).statistic < 2e-3


def test_training_times_of_normal_transforms():
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    t = flow("logit_normal", (0.5, 0.8)).sample_t(u)
    assert stats.kstest(torch.logit(t).numpy(), stats.norm(0.5, 0.8).cdf).statistic < 2e-3
    edm = PATHS["edm"]
    log_sigma = edm.sigma(edm.sample_t(u)).log()
    assert stats.kstest(log_sigma.numpy(), stats.norm(-0.5, 1.2).cdf).statistic < 2e-3
    zero = torch.zeros(1)
    for process in PATHS.values():  # the generator may draw exactly 0
        assert torch.isfinite(process.sample_t(zero)).all() and process.sample_t(zero) >= 0.0


def test_discrete_path_is_the_continuous_one_at_its_steps():
    process, view = CosineProcess(), discrete_view(process=CosineProcess(), num_steps=10)
    t = torch.tensor([0.0, 0.04, 0.1, 0.11, 0.95, 1.0], dtype=torch.float64)
    up = torch.tensor([0.0, 0.1, 0.1, 0.2, 1.0, 1.0], dtype=torch.float64)
    assert_close(view.on_grid(t), up, atol=1e-12, rtol=0)
    assert_close(view.alpha(t), process.alpha(up), atol=1e-12, rtol=0)
    assert_close(view.sigma(t), process.sigma(up), atol=1e-7, rtol=0)
    drawn = view.sample_t(torch.rand(5000)).mul(10).round().long()
    assert (drawn.bincount(minlength=11)[1:] > 400).all() and drawn.min() == 1


def test_discrete_steps_of_a_float_are_found_although_it_is_rounded():
    view = discrete_view(process=CosineProcess(), num_steps=1000)
    k = torch.arange(1001)
    assert_close(view.on_grid(k / 1000.0).mul(1000).round().long(), k)


def test_edm_network_sees_and_answers_unit_variance():
    """Karras et al. 2022, appendix B.6: inputs and targets of unit variance at every noise level."""
    process = EDMProcess(sigma_min=0.002, sigma_max=80.0, rho=7.0, log_sigma_mean=-0.5, log_sigma_std=1.2)
    x0 = 0.4 * torch.randn(1, 200_000, 1)
    process.set_sigma_data(x0.std().item())
    assert process.sigma_data.item() == pytest.approx(0.4, rel=0.01)
    assert "sigma_data" in process.state_dict()
    eps = torch.randn_like(x0)
    for sigma in (0.01, 0.4, 20.0):
        t = process.time_at(torch.tensor([sigma]))
        shown, (level, share) = (
            process.network_input(process.add_noise(x0, eps, t), t),
            process.network_level(t),
        )
        assert shown.std().item() == pytest.approx(1.0, rel=0.02)
        assert process.target("x0", x0, eps, t).std().item() == pytest.approx(1.0, rel=0.02)
        assert level.item() == pytest.approx(math.log(sigma) / 4, abs=1e-5)
        assert share.item() == pytest.approx((sigma**2 + 0.16) ** -0.5, rel=0.02)


def test_optimal_pairing_is_the_best_permutation_within_a_condition():
    from itertools import permutations

    x0, eps = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    condition = torch.tensor([[0, 0, 0, 0, 1], [0, 1, 0, 1, 0]])
    valid = torch.tensor([[True, True, True, False, True], [True] * 5])
    order = optimal_pairing(x0, eps, condition, valid)
    for scene in range(2):
        group = [i for i in range(5) if condition[scene, i] == 0 and valid[scene, i]]
        others = [i for i in range(5) if condition[scene, i] == 1 and valid[scene, i]]
        assert sorted(order[scene].tolist()) == list(range(5))
        assert set(order[scene, group].tolist()) == set(group) and set(order[scene, others].tolist()) == set(
            others
        )
        costs = [
            sum(
                (x0[scene, i] - eps[scene, j]).square().sum().item()
                for i, j in zip(group, choice, strict=True)
            )
            for choice in permutations(group)
        ]
        got = sum((x0[scene, i] - eps[scene, order[scene, i]]).square().sum().item() for i in group)
        assert got == pytest.approx(min(costs), abs=1e-4)
    assert order[0, 3] == 3, "what is not valid keeps its noise"
    paired = flow(coupling="optimal").pair_noise(x0, eps, condition, valid)
    assert_close(paired, eps.gather(1, order[..., None].expand_as(eps)), atol=0, rtol=0)
    assert flow().pair_noise(x0, eps, condition, valid) is eps
