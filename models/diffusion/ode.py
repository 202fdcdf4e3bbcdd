"""Runge-Kutta methods on the probability-flow ODE dx/dt = u(x, t) of any path with a derivative.

All end with the clean sample predicted at the last time before 0, since u is not defined at 0; so N steps of a method
with k stages cost k (N - 1) + 1 evaluations.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.models.diffusion.solvers import CountingDenoiser, Rng, Solver, Spacing, time_grid

Velocity = Callable[[States, Float[Tensor, ""]], States]


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method: where its stages stand, what they are made of, how they are added up."""

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


def combine(slopes: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    """Add up slopes by their weights, leaving out what weighs nothing."""
    return torch.stack([w * k for w, k in zip(weights, slopes, strict=True) if w != 0.0]).sum(0)


def stage_slopes(
    tableau: Tableau,
    u: Velocity,
    x: States,
    t: Tensor,
    h: Tensor,
    first: Tensor | None = None,
) -> list[Tensor]:
    """Return the slopes of all stages of a step of length ``h``; the first is not computed where it is given."""
    slopes = [u(x, t) if first is None else first]
    for node, weights in zip(tableau.nodes[1:], tableau.stages[1:], strict=True):
        slopes.append(u(x + h * combine(slopes, weights), t + node * h))
    return slopes


@dataclass(frozen=True, kw_only=True)
class FlowSolver(Solver):
    """A solver that integrates the probability flow."""

    def check(self, process: NoiseProcess) -> None:
        """Refuse paths without a derivative."""
        if not process.continuous:
            raise ValueError(
                f"solver={self.name} integrates a flow in continuous time; process={process.name} is known at "
                "discrete steps only. Use solver=ddim, dpmpp_2m or ddpm."
            )


@dataclass(frozen=True, kw_only=True)
class RungeKutta(FlowSolver):
    """An explicit method of fixed steps, equidistant in the time of the path.

    With ``linspace`` the last step is short, and the order that of the method. ``trailing`` is better with few steps: a
    long step that ends near data, where u divides by a small sigma, is a bad one.
    """

    spacing: Spacing
    tableau: ClassVar[Tableau]

    def times(self, process: NoiseProcess, like: Tensor) -> Float[Tensor, "n"]:
        """Return the times of the evaluations, in their order."""
        grid = time_grid(process, self.steps, self.spacing, like)[:-1]
        nodes = [grid[:-1] + node * grid.diff() for node in self.tableau.nodes]
        return torch.cat([torch.stack(nodes, dim=1).flatten(), grid[-1:]])

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield the state after each step."""

        def u(x: Tensor, t: Tensor) -> Tensor:
            return process.velocity(x, denoise(x, t), t)

        times = time_grid(process, self.steps, self.spacing, x)[:-1]
        for t, s in pairwise(times):
            x = x + (s - t) * combine(stage_slopes(self.tableau, u, x, t, s - t), self.tableau.weights)
            yield x
        yield denoise(x, times[-1])


class Euler(RungeKutta):
    """Euler's method, first order."""

    name = "euler"
    tableau = Tableau((0.0,), ((),), (1.0,))


class Midpoint(RungeKutta):
    """The midpoint method, second order."""

    name = "midpoint"
    tableau = Tableau((0.0, 0.5), ((), (0.5,)), (0.0, 1.0))


class Heun(RungeKutta):
    """Heun's method, second order."""

    name = "heun"
    tableau = Tableau((0.0, 1.0), ((), (1.0,)), (0.5, 0.5))


class RK4(RungeKutta):
    """The classical method, fourth order."""

    name = "rk4"
    tableau = Tableau(
        (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    )
