"""Does each solver of the engine without torch go where the one with torch goes?"""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sceneleapultra.models.diffusion.ancestral import DDIM, DDPM
from sceneleapultra.models.diffusion.consistency import Consistency
from sceneleapultra.models.diffusion.discrete import discrete_view
from sceneleapultra.models.diffusion.dpm_solver import DPMSolver
from sceneleapultra.models.diffusion.flow import FlowProcess
from sceneleapultra.models.diffusion.process import CosineProcess, LinearProcess, NoiseProcess
from sceneleapultra.serving.runtime.solvers import Solver

COMMON = {"temperature": 0.8, "clip_x0": 2.0}
SOLVERS = [
    DDIM(steps=5, spacing="trailing", eta=0.0, **COMMON),
    DDIM(steps=5, spacing="linspace", eta=0.4, **COMMON),
    DDIM(steps=7, spacing="leading", eta=0.0, **COMMON),
    DDPM(steps=4, spacing="trailing", **COMMON),
    DPMSolver(steps=6, spacing="trailing", **COMMON),
    Consistency(steps=3, **COMMON),
]
PROCESSES = {
    "cosine": CosineProcess(),
    "linear": LinearProcess(beta_min=0.1, beta_max=20.0, zero_terminal_snr=False),
    "flow": FlowProcess(timing="uniform", timing_parameters=(0.0, 1.0), coupling="independent"),
    "discrete": discrete_view(process=CosineProcess(), num_steps=50),
}


class Given:
    """Standard normal numbers that both engines take in turn."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)

    def __call__(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape, dtype=np.float32)


def settings(solver: Any) -> dict[str, Any]:
    return {"_target_": f"{type(solver).__module__}.{type(solver).__name__}", **vars(solver)}


def about(process: NoiseProcess) -> dict[str, Any]:
    return {"prior_scale": process.prior_scale, "t_min": process.t_min, "num_steps": process.num_steps}


def schedule(process: NoiseProcess):
    def evaluate(times: np.ndarray) -> tuple[np.ndarray, ...]:
        t = process.on_grid(torch.from_numpy(times))
        return t.numpy(), process.alpha(t).numpy(), process.sigma(t).numpy()

    return evaluate


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: f"{type(s).__name__}{getattr(s, 'eta', '')}")
@pytest.mark.parametrize("name", PROCESSES)
def test_the_same_states_after_every_step(solver: Any, name: str) -> None:
    process = PROCESSES[name]
    if isinstance(solver, DDPM) and not process.variance_preserving:
        pytest.skip("DDPM preserves the variance")
    noise = np.random.default_rng(1).standard_normal((2, 3, 4), dtype=np.float32)
    first, second = Given(), Given()
    # Neither linear nor bounded: what is clipped, and any wrong time, shows.
    expected = solver(
        lambda x, t: torch.sin(2.0 * x) + 3.0 * t[:, None, None] ** 2,
        process,
        torch.from_numpy(noise),
        lambda like: torch.from_numpy(first(*like.shape)),
        trajectory=True,
    )
    run = Solver(settings(solver), about(process), schedule(process))
    states = list(
        run.states(
            lambda x, t: np.sin(np.float32(2.0) * x) + np.float32(3.0 * t**2),
            noise,
            lambda *shape: second(2, *shape),
        )
    )
    assert expected.trajectory is not None
    assert_allclose(np.stack(states), expected.trajectory.numpy(), atol=2e-5)


def test_what_only_torch_has_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"solver=RungeKutta is run with torch only\. On onnxruntime: ddim, ddpm"
    ):
        Solver(
            {"_target_": "x.RungeKutta", "steps": 2, "temperature": 1.0}, about(CosineProcess()), lambda t: t
        )
    solver = settings(DDIM(steps=60, spacing="trailing", eta=0.0, **COMMON))
    with pytest.raises(ValueError, match=r"sampling\.steps=60: the process has 50 steps"):
        Solver(solver, about(PROCESSES["discrete"]), lambda t: t)
    with pytest.raises(ValueError, match="for another kind of model"):
        Solver({**solver, "_target_": "x.PriorSolver", "steps": 1}, about(CosineProcess()), lambda t: t)
