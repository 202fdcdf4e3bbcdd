"""Schedules and solvers beside diffusers': the same states after every step, in float32."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from factories.mixture import noise_source
from factories.processes import process_from_betas
from sceneleapultra.models.diffusion.ancestral import DDIM, ddim_step
from sceneleapultra.models.diffusion.dpm_solver import DPMSolver
from sceneleapultra.models.diffusion.edm import EDMProcess
from sceneleapultra.models.diffusion.edm_heun import EDMHeun
from sceneleapultra.models.diffusion.flow import FlowProcess
from sceneleapultra.models.diffusion.ode import Euler
from sceneleapultra.models.diffusion.process import NoiseProcess
from sceneleapultra.models.diffusion.solvers import time_grid

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # diffusers on numpy 2

SHARED = {"temperature": 1.0, "clip_x0": None}
THEIRS = {"x0": "sample", "eps": "epsilon", "v": "v_prediction"}
NOISE = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
# Below 1e-3 their 1 - alphas_cumprod, in float32, has fewer than five digits.
BETAS = {"beta_start": 1e-3, "beta_end": 0.02, "beta_schedule": "linear"}
WEIGHT = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))


def network(x: Tensor, level: Tensor | float) -> Tensor:
    """Something smooth that depends on the state and on the noise level."""
    return torch.tanh(x @ WEIGHT + level)


def denoiser(process: NoiseProcess, prediction: str):
    """What the network means as a denoiser on a path; its level is the time."""
    return lambda x, t: process.to_x0(prediction, network(x, t[0]), x, t)


def pair(scheduler, steps: int, zero: bool):
    """Their scheduler and our process of the same betas."""
    scheduler.set_timesteps(steps)
    betas = torch.linspace(1e-3, 0.02, scheduler.config.num_train_timesteps, dtype=torch.float32)
    return scheduler, process_from_betas(betas, zero_terminal_snr=zero)


def trajectory(scheduler, levels) -> Tensor:
    """Their states, from the same noise and network."""
    x, states = NOISE, [NOISE]
    for step in scheduler.timesteps:
        x = scheduler.step(network(x, levels(step)), step, x).prev_sample
        states.append(x)
    return torch.stack(states)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_schedules(schedule, zero):
    theirs = diffusers.DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule=schedule,
        rescale_betas_zero_snr=zero,
    )
    plain = diffusers.DDPMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule=schedule
    )
    process = process_from_betas(plain.betas, zero_terminal_snr=zero)
    t = torch.arange(1, 1001) / 1000.0
    assert_close(process.alpha(t) ** 2, theirs.alphas_cumprod, atol=1e-6, rtol=0)
    assert_close(process.sigma(t) ** 2, 1 - theirs.alphas_cumprod, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("prediction", "zero"), [("eps", False), ("x0", False), ("v", False), ("x0", True), ("v", True)]
)
def test_ddpm(prediction, zero):
    """Each of their steps from the same state, with the same noise."""
    options = {"num_train_timesteps": 50, "clip_sample": False, "variance_type": "fixed_small"}
    scheduler, process = pair(
        diffusers.DDPMScheduler(
            **BETAS, **options, prediction_type=THEIRS[prediction], rescale_betas_zero_snr=zero
        ),
        50,
        zero,
    )
    grid = time_grid(process, 50, "trailing", NOISE)
    assert_close(grid[:-1].mul(50).round().long() - 1, scheduler.timesteps)
    generator, rng = torch.Generator().manual_seed(3), noise_source(3)
    x = NOISE
    for i, step in enumerate(scheduler.timesteps):
        output = network(x, grid[i])
        x0 = process.to_x0(prediction, output, x, grid[i].expand(2))
        ours = ddim_step(process, x, x0, grid[i], grid[i + 1], eta=1.0, rng=rng)
        x = scheduler.step(output, step, x, generator=generator).prev_sample
        assert_close(ours, x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.6])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_ddim(spacing, prediction, eta):
    """Each of their steps from the same state; whole runs where their steps follow one another."""
    options = {"num_train_timesteps": 1000, "clip_sample": False, "timestep_spacing": spacing}
    scheduler, process = pair(
        diffusers.DDIMScheduler(**BETAS, **options, prediction_type=THEIRS[prediction]), 10, False
    )
    grid = time_grid(process, 10, spacing, NOISE)
    assert_close(
        grid[:-1].mul(1000).round().long() - 1, scheduler.timesteps, atol=int(spacing == "linspace"), rtol=0
    )
    generator, rng = torch.Generator().manual_seed(5), noise_source(5)
    x = NOISE
    for step in scheduler.timesteps:
        # Their next step is always 100 lower, with linspace too, where the next evaluation is 111 lower.
        t, s = (step + 1) / 1000, ((step + 1 - 100) / 1000).clamp(min=0.0)
        output = network(x, t)
        theirs = scheduler.step(output, step, x, eta=eta, generator=generator).prev_sample
        x0 = process.to_x0(prediction, output, x, t.expand(2))
        ours = ddim_step(process, x, x0, t, s, eta=eta, rng=rng)
        assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        x = theirs
    if spacing == "trailing" and eta == 0.0:
        solver = DDIM(steps=10, spacing=spacing, eta=0.0, **SHARED)
        made = solver(denoiser(process, prediction), process, NOISE, None, trajectory=True).trajectory
        assert_close(made, trajectory(scheduler, lambda n: (n + 1) / 1000), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_dpm_solver(prediction, steps):
    options = {"num_train_timesteps": 1000, "timestep_spacing": "trailing", "final_sigmas_type": "zero"}
    scheduler, process = pair(
        diffusers.DPMSolverMultistepScheduler(
            **BETAS,
            **options,
            prediction_type=THEIRS[prediction],
            algorithm_type="dpmsolver++",
            solver_order=2,
        ),
        steps,
        False,
    )
    solver = DPMSolver(steps=steps, spacing="trailing", **SHARED)
    made = solver(denoiser(process, prediction), process, NOISE, None, trajectory=True).trajectory
    theirs = trajectory(scheduler, lambda n: (n + 1) / 1000)
    assert_close(made, theirs, atol=1e-5, rtol=1e-5)


def edm() -> EDMProcess:
    process = EDMProcess(sigma_min=0.002, sigma_max=80.0, rho=7.0, log_sigma_mean=-1.2, log_sigma_std=1.2)
    process.sigma_data.fill_(0.5)
    return process


def test_edm_euler_is_ddim_on_the_edm_path():
    """Their noise levels, preconditioning and steps."""
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, rho=7.0)
    scheduler.set_timesteps(12)
    x = 80.0 * NOISE
    states = [x]
    for level in scheduler.timesteps:
        x = scheduler.step(network(scheduler.scale_model_input(x, level), level), level, x).prev_sample
        states.append(x)
    process = edm()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        shown, (level, _) = process.network_input(x, t), process.network_level(t)
        return process.to_x0("x0", network(shown, level[0]), x, t)

    solver = DDIM(steps=12, spacing="linspace", eta=0.0, **SHARED)
    made = solver(denoise, process, NOISE, None, trajectory=True).trajectory
    assert_close(made, torch.stack(states), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_edm_heun(prediction):
    """Their scheduler on EDM's noise levels; its v is that of the rescaled state, which is EDM's preconditioning."""
    process, steps = edm(), 12
    process.sigma_data.fill_(1.0)
    times = time_grid(process, steps, "linspace", NOISE)
    sigmas = process.sigma(times)
    scheduler = diffusers.HeunDiscreteScheduler(prediction_type=THEIRS[prediction])
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.timesteps = torch.cat([times[:1], times[1:-1].repeat_interleave(2)])
    x, states = 80.0 * NOISE, [80.0 * NOISE]
    for i, t in enumerate(scheduler.timesteps):
        shown, (level, _) = process.network_input(x, t.expand(2)), process.network_level(t.expand(2))
        sign = 1.0 if prediction == "eps" else -1.0
        x = scheduler.step(sign * network(shown, level[0]), t, x).prev_sample
        if i % 2 == 1 or i == 2 * steps - 2:
            states.append(x)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        shown, (level, _) = process.network_input(x, t), process.network_level(t)
        return process.to_x0("eps" if prediction == "eps" else "x0", network(shown, level[0]), x, t)

    solver = EDMHeun(
        steps=steps, churn=0.0, churn_range=(0.05, 50.0), churn_noise=1.0, spacing="linspace", **SHARED
    )
    made = solver(denoise, process, NOISE, None, trajectory=True)
    assert made.nfe == len(scheduler.timesteps) == 2 * steps - 1
    assert_close(made.trajectory, torch.stack(states), atol=1e-5, rtol=1e-5)


def test_flow_match_euler():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(12)
    process = FlowProcess(timing="uniform", timing_parameters=(0.0, 1.0), coupling="independent")
    made = Euler(steps=12, spacing="linspace", **SHARED)(
        denoiser(process, "u"), process, NOISE, None, trajectory=True
    ).trajectory
    assert_close(made, trajectory(scheduler, lambda n: n / 1000), atol=1e-5, rtol=1e-5)
