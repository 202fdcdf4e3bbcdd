"""The loop of a solver around an exported denoiser: what ``models/diffusion`` does, in numpy."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.core.names import unknown_name

States = Float[np.ndarray, "b g d"]
Denoise = Callable[[States, float], States]
Schedule = Callable[[Float[np.ndarray, "n"]], tuple[np.ndarray, np.ndarray, np.ndarray]]
SOLVERS = ("ddim", "ddpm", "dpmpp_2m", "consistency", "prior")
_TARGETS = dict(zip(("DDIM", "DDPM", "DPMSolver", "Consistency", "PriorSolver"), SOLVERS, strict=True))


def solver_name(settings: Mapping[str, Any]) -> str:
    """Return the name of a solver by its settings.

    Raises:
        ValueError: a solver that only the engine with torch has.
    """
    name = str(settings["_target_"]).rpartition(".")[2]
    if name not in _TARGETS:
        raise ValueError(
            f"sampling.solver={name} is run with torch only. On onnxruntime: {', '.join(SOLVERS)}; or load the bundle "
            "with load_grasp_model."
        )
    return _TARGETS[name]


class Solver:
    """A solver, bound to its settings and to the schedule of a process.

    Args:
        settings: of the solver, as the bundle holds them.
        about: of the process: ``prior_scale``, ``t_min`` and ``num_steps``.
        schedule: times to (times of the process, alpha, sigma).

    Raises:
        ValueError: a solver that only the engine with torch has, or more steps than a discrete process has.
    """

    def __init__(self, settings: Mapping[str, Any], about: Mapping[str, Any], schedule: Schedule) -> None:
        self.name, self.settings, self.about, self.schedule = solver_name(settings), settings, about, schedule
        self.steps, self.temperature = int(settings["steps"]), float(settings["temperature"])
        if about["num_steps"] is not None and self.steps > about["num_steps"]:
            raise ValueError(
                f"sampling.steps={self.steps}: the process has {about['num_steps']} steps. Pass at most "
                f"{about['num_steps']}."
            )
        if (self.name == "prior") != (about["t_min"] is None):
            raise ValueError(f"sampling.solver={self.name} is for another kind of model than this one.")

    def states(self, denoise: Denoise, noise: States, normal: Callable[..., np.ndarray]) -> Iterator[States]:
        """Yield the state before the first step and after each; the last is clean.

        Args:
            denoise: states at a time to the clean states expected behind them.
            noise: standard normal, to start from.
            normal: gives further noise of a shape, without its first axis.
        """
        x = (np.float32(self.temperature * self.about["prior_scale"]) * noise).astype(np.float32)
        yield x
        if self.name == "prior":
            yield self._clipped(denoise(x, 0.0))
            return
        times, alpha, sigma = self.schedule(self._grid())
        before, eta = np.zeros_like(x), {"ddpm": 1.0}.get(self.name, self.settings.get("eta", 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            h = np.diff(np.log(alpha / sigma))  # infinite where a clean end begins or ends a step
        for i in range(len(times) - 1):
            if self.name == "consistency" and i > 0:
                x = alpha[i] * x + np.float32(self.temperature) * sigma[i] * normal(*x.shape[1:])
            x0 = self._clipped(denoise(x, float(times[i])))
            if self.name == "consistency":
                x = x0
            elif self.name == "dpmpp_2m":
                ahead = (
                    np.float32(0.5) * h[i] / h[i - 1] * (x0 - before)
                    if 0 < i < self.steps - 1
                    else np.float32(0.0)
                )
                shrunk = sigma[i + 1] / sigma[i]
                x, before = shrunk * x + (alpha[i + 1] - alpha[i] * shrunk) * (x0 + ahead), x0
            else:
                x = _ddim_step(x, x0, alpha[i : i + 2], sigma[i : i + 2], np.float32(eta), normal)
            yield x

    def _clipped(self, x0: States) -> States:
        bound = self.settings["clip_x0"]
        return x0 if bound is None else x0.clip(np.float32(-bound), np.float32(bound))

    def _grid(self) -> Float[np.ndarray, "n"]:
        """Return the times from noise to data; see ``models/diffusion/solvers.py``, ``time_grid``."""
        spacing, steps, t_min = self.settings.get("spacing", "trailing"), self.steps, self.about["t_min"]
        if spacing == "trailing" and steps * t_min <= 1.0:
            times = np.linspace(1.0, 0.0, steps + 1)
        elif spacing in ("trailing", "linspace"):
            times = np.append(np.linspace(1.0, t_min, steps), 0.0)
        elif spacing == "leading":
            times = np.append(np.arange(steps - 1, -1, -1) / steps * (1.0 - t_min) + t_min, 0.0)
        else:
            raise unknown_name("solver.spacing", str(spacing), ("leading", "trailing", "linspace"))
        return times.astype(np.float32)


def _ddim_step(
    x: States,
    x0: States,
    alpha: np.ndarray,
    sigma: np.ndarray,
    eta: np.float32,
    normal: Callable[..., np.ndarray],
) -> States:
    """Step between two times (Song et al. 2021, eq. 12)."""
    eps = (x - alpha[0] * x0) / sigma[0]
    if eta == 0.0:
        return alpha[1] * x0 + np.sqrt(sigma[1] ** 2) * eps
    variance = sigma[0] ** 2 - (alpha[0] / alpha[1]) ** 2 * sigma[1] ** 2
    added = eta * np.sqrt(variance.clip(0.0) * sigma[1] ** 2 / sigma[0] ** 2)
    x = alpha[1] * x0 + np.sqrt((sigma[1] ** 2 - added**2).clip(0.0)) * eps
    return x + added * normal(*x.shape[1:])
