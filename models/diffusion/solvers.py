"""How noise becomes grasps: what every solver shares, over nothing but (denoise, path).

A solver is a frozen set of settings with one method, ``solve``, which yields the state after each of its steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.utils.core.names import unknown_name

NoiseSource = Callable[[Tensor], Tensor]  # a tensor -> standard normal numbers of its shape, device and type
Rng = NoiseSource | None  # None: torch's global generator
Denoise = Callable[[States, Float[Tensor, "b"]], States]  # (x_t, t) -> x0
# What a solver needs the network to predict: the mean of x0, the end of a trajectory, or a decoded code.
SolverKind = Literal["diffusion", "consistency", "latent"]
Spacing = Literal["leading", "trailing", "linspace"]


@dataclass(frozen=True)
class Samples:
    """What a solver returns: clean samples, the function evaluations they cost, and all states if asked for."""

    x0: States
    nfe: int
    trajectory: Float[Tensor, "n b g d"] | None = None  # from noise to x0


class CountingDenoiser:
    """Evaluates a denoiser at one time for all samples, clips its prediction and counts the evaluations."""

    def __init__(self, denoise: Denoise, clip_x0: float | None) -> None:
        self._denoise, self._clip_x0 = denoise, clip_x0
        self.count = 0

    def __call__(self, x: States, t: Float[Tensor, ""]) -> States:
        """Return the expected clean samples."""
        self.count += 1
        x0 = self._denoise(x, t.expand(x.shape[0]))
        return x0 if self._clip_x0 is None else x0.clamp(-self._clip_x0, self._clip_x0)


@dataclass(frozen=True, kw_only=True)
class Solver(ABC):
    """A way from noise to data.

    Attributes:
        steps: parts the way is divided into.
        temperature: scale of the initial noise; below 1 trades diversity for precision.
        clip_x0: bound on the predicted clean sample in normalized units; None for no bound.
    """

    name: ClassVar[str]  # of its file in config/sampling/solver
    steps: int
    temperature: float
    clip_x0: float | None

    kind: ClassVar[SolverKind] = "diffusion"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if self.steps < 1:
            raise ValueError(f"solver.steps must be at least 1, got {self.steps}.")
        if not self.temperature >= 0.0:
            raise ValueError(f"solver.temperature must not be negative, got {self.temperature}.")
        if self.clip_x0 is not None and not self.clip_x0 > 0.0:
            raise ValueError(f"solver.clip_x0 must be positive or null, got {self.clip_x0}.")

    def check(self, process: NoiseProcess) -> None:
        """Refuse a path this solver cannot follow, and more steps than a discrete one has.

        Raises:
            ValueError: with the solver, the path, the reason and what to use instead.
        """
        if process.num_steps is not None and self.steps > process.num_steps:
            raise ValueError(
                f"sampling.steps={self.steps}: the process has {process.num_steps} steps. Pass at most "
                f"{process.num_steps}."
            )

    def times(self, process: NoiseProcess, like: Tensor) -> Float[Tensor, "n"] | None:
        """Return the times at which ``solve`` evaluates, in their order; None where only its run decides."""
        return None

    @abstractmethod
    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield the state after each step from t = 1 on; the last is the clean sample."""

    def __call__(
        self,
        denoise: Denoise,
        process: NoiseProcess,
        noise: States,
        rng: Rng,
        *,
        trajectory: bool = False,
    ) -> Samples:
        """Run the solver.

        Args:
            denoise: maps (x_t, t) to the expected clean sample.
            process: the process the network was trained on.
            noise: unit noise to start from.
            rng: source of all further noise.
            trajectory: whether to return the state after every step.

        Raises:
            ValueError: the path is one that this solver cannot follow.
        """
        self.check(process)
        denoise = CountingDenoiser(denoise, self.clip_x0)
        states = [self.temperature * process.prior_scale * noise]
        for x in self.solve(denoise, process, states[0], rng):
            states = [*states, x] if trajectory else [x]
        visited = torch.stack(states) if trajectory else None
        return Samples(x0=states[-1], nfe=denoise.count, trajectory=visited)


def time_grid(process: NoiseProcess, steps: int, spacing: Spacing, like: Tensor) -> Float[Tensor, "n"]:
    """Return the ``steps + 1`` times from noise to 0 (data); the spacings of diffusers in continuous time.

    ``trailing`` evaluates at t = 1 and then at equal distances to 0, but never below the path's ``t_min`` (Lin et al.
    2024, table 2). ``linspace`` also begins at 1, but its last evaluation is at ``t_min``. ``leading`` ends there too
    and begins one step below 1, so it starts from noise that was never seen: it is here for comparison.

    Raises:
        ValueError: fewer than one step, more steps than a discrete path has, or an unknown spacing.
    """
    if steps < 1:
        raise ValueError(f"solver.steps must be at least 1, got {steps}.")
    if spacing == "trailing" and steps * process.t_min <= 1.0:
        times = torch.linspace(1.0, 0.0, steps + 1, dtype=like.dtype, device=like.device)
    elif spacing in ("trailing", "linspace"):
        times = functional.pad(
            torch.linspace(1.0, process.t_min, steps, dtype=like.dtype, device=like.device), (0, 1)
        )
    elif spacing == "leading":
        offsets = torch.arange(steps - 1, -1, -1, dtype=like.dtype, device=like.device) / steps
        times = functional.pad(offsets * (1.0 - process.t_min) + process.t_min, (0, 1))
    else:
        raise unknown_name("solver.spacing", spacing, get_args(Spacing))
    return process.on_grid(times)


def normal_like(x: Tensor, rng: Rng) -> Tensor:
    """Return standard normal numbers like ``x``; from torch's global generator where ``rng`` is None."""
    return torch.randn_like(x) if rng is None else rng(x)
