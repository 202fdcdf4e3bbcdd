"""Solvers against data whose exact denoiser is known in closed form, on every path and for every prediction."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from factories.mixture import BLOBS, MIXTURE, PATHS, noise_source
from sceneleapultra.models.diffusion.ancestral import DDIM, DDPM, ddim_step
from sceneleapultra.models.diffusion.consistency import Consistency
from sceneleapultra.models.diffusion.discrete import discrete_view
from sceneleapultra.models.diffusion.dormand_prince import DormandPrince
from sceneleapultra.models.diffusion.dpm_solver import DPMSolver
from sceneleapultra.models.diffusion.edm_heun import EDMHeun
from sceneleapultra.models.diffusion.ode import RK4, Euler, Heun, Midpoint
from sceneleapultra.models.diffusion.process import CosineProcess
from sceneleapultra.models.diffusion.solvers import Solver, time_grid
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group

SHARED = {"temperature": 1.0, "clip_x0": None}
EVEN = {"spacing": "linspace", **SHARED}
EDM_HEUN = EDMHeun(steps=40, churn=0.0, churn_range=(0.05, 50.0), churn_noise=1.0, **EVEN)
SAMPLERS: dict[str, Solver] = {
    "ddpm": DDPM(steps=150, spacing="trailing", **SHARED),
    "ddim": DDIM(steps=100, spacing="trailing", eta=0.0, **SHARED),
    "ddim_eta": DDIM(steps=100, spacing="linspace", eta=0.7, **SHARED),
    "dpmpp_2m": DPMSolver(steps=40, spacing="linspace", **SHARED),
    "euler": Euler(steps=100, **EVEN),
    "midpoint": Midpoint(steps=40, **EVEN),
    "heun": Heun(steps=40, **EVEN),
    "rk4": RK4(steps=24, **EVEN),
    "dopri5": DormandPrince(steps=100, rtol=1e-4, atol=1e-4, **SHARED),
    "edm_heun": EDM_HEUN,
    "edm_heun_churned": replace(EDM_HEUN, steps=60, churn=20.0),
}
ORDERS = {"ddim": 1, "euler": 1, "dpmpp_2m": 2, "midpoint": 2, "heun": 2, "edm_heun": 2, "rk4": 4}


def runs(name: str, process: str) -> bool:
    """Whether a solver follows a path; what it refuses is tested below."""
    if name == "ddpm":
        return process not in ("edm", "flow")
    return process != "ddpm" or name in ("ddim", "ddim_eta", "dpmpp_2m")


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.randn(1, n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(process: str):
    """The variance-preserving path with linear beta stands in for nothing the cosine path does not."""
    return pytest.mark.slow if process.startswith("linear") else ()


PAIRS = [pytest.param(s, p, marks=slow(p)) for s in SAMPLERS for p in PATHS if runs(s, p)]
FLOWS = [pytest.param(p, marks=slow(p)) for p in ("cosine", "flow", "edm", "linear")]


@pytest.mark.parametrize(
    "name", [name for name in SAMPLERS if name not in ("dopri5", "edm_heun", "edm_heun_churned")]
)
def test_times_are_known_before_the_run(name):
    """What a network takes of times may be computed for all steps at once only where they are these, in this order."""
    process, solver, asked = CosineProcess(), replace(SAMPLERS[name], steps=5), []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        asked.append(t[0])
        return x

    solver(denoise, process, noise(3), noise_source(0))
    times = solver.times(process, noise(3))
    assert times is not None
    assert_close(times, torch.stack(asked), atol=0.0, rtol=0.0)


@pytest.mark.parametrize(("name", "path_name"), PAIRS)
def test_mean_and_covariance_are_those_of_the_data(name, path_name):
    process, n, solver = PATHS[path_name], 2000, SAMPLERS[name]
    if (name, path_name) == ("euler", "edm"):  # sigma falls as t^7, which straight steps in t follow badly
        solver = replace(solver, steps=600)
    rng = noise_source(1)
    x = solver(MIXTURE.network(process, "x0"), process, noise(n), rng).x0[0]
    # Four standard errors; that of a covariance is at most sqrt(2) times the larger variance over sqrt(n), if Gaussian.
    deviation = MIXTURE.covariance.diagonal().max().sqrt()
    assert_close(x.mean(0), MIXTURE.mean, atol=float(4 * deviation / n**0.5), rtol=0)
    assert_close(torch.cov(x.T), MIXTURE.covariance, atol=float(4 * 1.5 * deviation**2 / n**0.5), rtol=0)


@pytest.mark.parametrize(("name", "path_name"), PAIRS)
def test_every_prediction_gives_the_same_samples(name, path_name):
    process = PATHS[path_name]
    solver = SAMPLERS[name] if name == "dopri5" else replace(SAMPLERS[name], steps=6)
    expected = solver(MIXTURE.expected_x0_of(process), process, noise(8), noise_source(2)).x0
    for prediction in {"x0", "eps", "v", "u"} - set(process.refused):
        denoise = MIXTURE.network(process, prediction)
        x = solver(denoise, process, noise(8), noise_source(2)).x0
        assert_close(x, expected, atol=1e-7, rtol=0)


@pytest.fixture(scope="module")
def exact():
    """The end of the flow from 64 noises on a path, by very many steps of a method of high order."""
    known: dict[str, Tensor] = {}

    def solved(path_name: str) -> Tensor:
        if path_name not in known:
            process = PATHS[path_name]
            solver = DormandPrince(steps=5000, rtol=1e-9, atol=1e-9, **SHARED)
            known[path_name] = solver(MIXTURE.expected_x0_of(process), process, noise(64), None).x0
        return known[path_name]

    return solved


@pytest.mark.parametrize("path_name", FLOWS)
@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence(exact, name, path_name):
    """Halving the steps divides the error by two to the order."""
    process, order = PATHS[path_name], ORDERS[name]
    solver = replace(SAMPLERS[name], **({"spacing": "linspace"} if name in ("ddim", "dpmpp_2m") else {}))
    counts = (33, 65, 129) if order < 4 else (17, 33, 65)
    errors = []
    for steps in counts:  # N steps are N - 1 intervals and the jump to data, which is the same for all
        x = replace(solver, steps=steps)(MIXTURE.expected_x0_of(process), process, noise(64), None).x0
        errors.append((x - exact(path_name)).square().mean().sqrt())
    measured = [torch.log2(errors[i] / errors[i + 1]).item() for i in range(2)]
    # EDM's Heun steps in sigma / alpha, which is infinite where no signal is left: a logarithm is lost there.
    short = 0.35 if name == "edm_heun" and process.terminal_alpha == 0.0 else 0.25
    assert order - short < measured[-1] < order + 0.8, (measured, errors)


@pytest.mark.parametrize("path_name", FLOWS)
def test_adaptive_steps_meet_their_tolerance(exact, path_name):
    process = PATHS[path_name]
    reference = exact(path_name)
    costs = []
    for tolerance in (1e-3, 1e-5, 1e-7):
        solver = DormandPrince(steps=2000, rtol=tolerance, atol=tolerance, **SHARED)
        made = solver(MIXTURE.expected_x0_of(process), process, noise(64), None)
        # Local errors of at most the tolerance add up along the way: to less than ten of them here.
        assert (made.x0 - reference).abs().max() < 10 * tolerance
        costs.append(made.nfe)
    assert costs[0] < costs[1] < costs[2]


@pytest.mark.parametrize("path_name", ["flow", "cosine"])
def test_rejected_steps_advance_nothing_and_every_evaluation_is_counted(path_name):
    process, times = PATHS[path_name], []

    def recording(x: Tensor, t: Tensor) -> Tensor:
        times.append(t[0].item())
        return BLOBS.expected_x0(process, x, t)

    solver = DormandPrince(steps=200, rtol=1e-4, atol=1e-4, **SHARED)
    made = solver(recording, process, noise(16), None, trajectory=True)
    assert made.nfe == len(times)
    tries = [times[1 + 6 * i : 7 + 6 * i] for i in range((len(times) - 2) // 6)]
    assert len(times) == 2 + 6 * len(tries), "one slope to begin with, six a try, the clean sample at the end"
    # A try's second stage stands at t - h / 5 and its last at t - h, which say where it began and how long it was.
    begins = [1.25 * attempt[0] - 0.25 * attempt[-1] for attempt in tries]
    now, accepted = 1.0, 0
    for i, begin in enumerate(begins):
        assert begin == pytest.approx(now, abs=1e-9)
        follows = begins[i + 1] if i + 1 < len(begins) else times[-1]
        if follows != pytest.approx(now, abs=1e-9):
            now, accepted = tries[i][-1], accepted + 1
    assert accepted < len(tries), "nothing was rejected: the test shows nothing"
    assert made.trajectory.shape[0] == accepted + 2
    assert times[-1] == pytest.approx(process.t_min, abs=1e-7)


def test_adaptive_steps_that_do_not_arrive_say_so():
    solver = DormandPrince(steps=3, rtol=1e-6, atol=1e-6, **SHARED)
    with pytest.raises(ValueError, match=r"solver=dopri5 reached t = .* in 3 steps.*Raise solver\.steps"):
        solver(MIXTURE.expected_x0_of(PATHS["flow"]), PATHS["flow"], noise(4), None)


@pytest.mark.parametrize(
    ("name", "nfe"),
    [("ddim", 7), ("dpmpp_2m", 7), ("euler", 7), ("midpoint", 13), ("heun", 13), ("rk4", 25), ("ddpm", 7)],
)
def test_evaluations_are_counted_and_the_trajectory_is_whole(name, nfe):
    process, calls = PATHS["cosine"], []

    def counting(x: Tensor, t: Tensor) -> Tensor:
        calls.append(t)
        return MIXTURE.expected_x0(process, x, t)

    rng = noise_source(0)
    made = replace(SAMPLERS[name], steps=7)(counting, process, noise(3), rng, trajectory=True)
    assert made.nfe == len(calls) == nfe
    assert made.trajectory.shape == (8, 1, 3, 2)
    assert_close(made.trajectory[0], noise(3), atol=0, rtol=0)
    assert_close(made.trajectory[-1], made.x0, atol=0, rtol=0)


def test_edm_heun_costs_one_evaluation_less_than_twice_the_steps():
    for path_name, nfe in (("edm", 13), ("cosine", 12)):  # no signal at t = 1: the first step is Euler's, too
        process = PATHS[path_name]
        assert replace(EDM_HEUN, steps=7)(MIXTURE.expected_x0_of(process), process, noise(3), None).nfe == nfe


def test_noise_that_consistency_sampling_adds_has_its_temperature():
    process, noise = PATHS["cosine"], torch.randn(1, 20, 2, dtype=torch.float64)
    ends = [
        Consistency(steps=2, temperature=temperature, clip_x0=None)(
            lambda x, t: 0.5 * x, process, noise, torch.ones_like
        ).x0
        for temperature in (0.0, 0.2, 1.0)
    ]
    assert not ends[0].any()
    assert_close(ends[1], 0.2 * ends[2])


def test_consistency_sampling_of_a_perfect_consistency_model():
    """A model that knows the end of each trajectory of a Gaussian: one step and four give its distribution."""
    process = PATHS["cosine"]
    mean, deviation = torch.tensor([0.5, -0.3], dtype=torch.float64), 0.6

    def end(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = process.alpha(t[:1]), process.sigma(t[:1])
        return mean + deviation * (x - alpha * mean) / (alpha**2 * deviation**2 + sigma**2).sqrt()

    for steps in (1, 4):
        solver = Consistency(steps=steps, **SHARED)
        made = solver(end, process, noise(4000), noise_source(1))
        assert made.nfe == steps
        assert_close(made.x0[0].mean(0), mean, atol=4 * 0.6 / 4000**0.5, rtol=0)
        assert_close(made.x0[0].std(0), torch.full((2,), 0.6).double(), atol=4 * 0.6 / 8000**0.5, rtol=0)


def test_ancestral_step_has_the_moments_of_the_posterior():
    """One step from t to s with a known x0 must be N(mean, var) of Ho et al. 2020 eq. 6-7, written out here."""
    process = CosineProcess()
    x0, x_t = torch.tensor([[[0.7, -0.2]]]), torch.tensor([[[0.1, 0.9]]])
    times = time_grid(process, 4, "trailing", x_t)  # 1, .75, .5, .25, 0
    a_t, s_t, a_s, s_s = (
        process.alpha(times[1]),
        process.sigma(times[1]),
        process.alpha(times[2]),
        process.sigma(times[2]),
    )
    a_ts = a_t / a_s
    var_ts = s_t**2 - a_ts**2 * s_s**2
    mean = (a_ts * s_s**2 * x_t + a_s * var_ts * x0) / s_t**2
    var = var_ts * s_s**2 / s_t**2
    many = x_t.expand(1, 100_000, 2).contiguous()
    rng = noise_source(0)
    x = ddim_step(process, many, x0.expand_as(many), times[1], times[2], eta=1.0, rng=rng)[0]
    assert_close(x.mean(0), mean[0, 0], atol=4 * float(var.sqrt()) / 1e5**0.5, rtol=0)
    assert_close(x.var(0), var.expand(2), atol=4 * 1.5 * float(var) / 1e5**0.5, rtol=0)


def test_same_generator_gives_the_same_samples():
    process = CosineProcess()
    solver = DDPM(steps=7, spacing="trailing", temperature=1.0, clip_x0=3.0)
    one, two = (
        solver(MIXTURE.expected_x0_of(process), process, noise(5), noise_source(3)).x0 for _ in range(2)
    )
    assert_close(one, two, atol=0, rtol=0)


def test_temperature_zero_starts_from_the_middle_of_the_noise():
    process = CosineProcess()
    solver = DDIM(steps=50, spacing="trailing", eta=0.0, temperature=0.0, clip_x0=None)
    x = solver(MIXTURE.expected_x0_of(process), process, noise(3), None).x0
    assert_close(x, x[:, :1].expand_as(x), atol=0, rtol=0)


def test_clipping_bounds_the_predicted_clean_sample():
    solver = replace(SAMPLERS["heun"], steps=5, clip_x0=0.1)
    x = solver(MIXTURE.expected_x0_of(PATHS["flow"]), PATHS["flow"], noise(50), None).x0
    assert x.abs().max() <= 0.1


def test_every_file_of_the_group_builds_the_sampler_of_its_name():
    names = {p.stem for p in (CONFIG_DIR / "model" / "solver").glob("*.yaml")}
    assert names == {p.stem for p in (CONFIG_DIR / "solver").glob("*.yaml")}
    for name in names:
        assert build(load_group("model/solver", name)).name == name
        assert load_group("solver", name).name == name


@pytest.mark.parametrize(
    ("name", "path_name", "message"),
    [
        (
            "ddpm",
            "edm",
            "solver=ddpm steps through a variance-preserving chain; process=edm is none",
        ),
        ("ddpm", "flow", "process=flow is none"),
        (
            "heun",
            "ddpm",
            "solver=heun integrates a flow in continuous time; process=ddpm is known at discrete",
        ),
        ("dopri5", "ddpm", "solver=dopri5 integrates a flow"),
        ("edm_heun", "ddpm", "solver=edm_heun integrates a flow"),
    ],
)
def test_impossible_pairs_are_refused_by_name(name, path_name, message):
    process = PATHS[path_name]
    with pytest.raises(ValueError, match=message):
        SAMPLERS[name](MIXTURE.expected_x0_of(process), process, noise(2), None)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ddim", {"steps": 0}, "solver.steps must be at least 1, got 0"),
        ("ddim", {"eta": 1.5}, "solver.eta must lie in"),
        ("ddim", {"temperature": -1.0}, "temperature must not be negative"),
        ("ddim", {"clip_x0": 0.0}, "clip_x0 must be positive or null"),
        ("dopri5", {"atol": 0.0}, "solver.atol positive"),
        ("edm_heun", {"churn": -1.0}, "solver.churn and solver.churn_noise must not be negative"),
    ],
)
def test_impossible_settings_are_refused(name, change, message):
    with pytest.raises(ValueError, match=message):
        replace(SAMPLERS[name], **change)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m"])
def test_a_discrete_process_is_not_divided_into_more_steps_than_it_has(name, spacing):
    process = discrete_view(process=CosineProcess(), num_steps=20)
    solver = replace(SAMPLERS[name], steps=20, spacing=spacing)
    made = solver(MIXTURE.expected_x0_of(process), process, noise(2), torch.randn_like)
    assert made.x0.isfinite().all()
    with pytest.raises(ValueError, match=r"sampling\.steps=21: the process has 20 steps\. Pass at most 20\."):
        replace(solver, steps=21).check(process)
    with pytest.raises(ValueError, match=r"sampling\.steps=21"):
        replace(solver, steps=21)(MIXTURE.expected_x0_of(process), process, noise(2), torch.randn_like)


@pytest.mark.parametrize("path_name", PATHS)
def test_no_time_below_the_smallest_is_asked_about(path_name):
    process = PATHS[path_name]
    for spacing in ("leading", "trailing", "linspace"):
        for steps in (1, 3, 12, 150):
            times = time_grid(process, steps, spacing, torch.zeros(1, dtype=torch.float64))
            assert times[-1] == 0.0 and times[-2] >= process.t_min - 1e-9 and times[0] <= 1.0
            assert (times.diff() <= 0).all()


@pytest.mark.untyped
def test_unknown_spacing_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'trailing'"):
        time_grid(CosineProcess(), 3, "trailling", torch.zeros(1))


@pytest.mark.parametrize("path", ["cosine", "flow", "edm", "linear"])
def test_no_noise_is_stirred_in_outside_of_its_range(path: str) -> None:
    """Not even what rounding to single precision leaves of a step to the level where one is already."""
    process = PATHS[path]
    start = noise(50).float()
    ends = [
        replace(EDM_HEUN, churn=churn, churn_range=(1e6, 1e7))(
            lambda x, t: MIXTURE.expected_x0_of(process)(x.double(), t.double()).float(), process, start, None
        ).x0
        for churn in (0.0, 20.0)
    ]
    assert_close(*ends, atol=0, rtol=0)
