"""Adaptive integration of the probability flow: Dormand and Prince's 5(4) pair with a step size that adapts."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sceneleapultra.models.diffusion.ode import FlowSolver, Tableau, combine, stage_slopes
from sceneleapultra.models.diffusion.process import NoiseProcess, States
from sceneleapultra.models.diffusion.solvers import CountingDenoiser, Rng

# Dormand & Prince 1980, as table II.5.2 of Hairer, Norsett & Wanner 1993.
_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_FIFTH = (*_STAGES[-1], 0.0)
_FOURTH = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
_PAIR = Tableau((0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0), _STAGES, _FIFTH)
_ERROR = tuple(high - low for high, low in zip(_FIFTH, _FOURTH, strict=True))

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0
_PI_NOW, _PI_BEFORE = 0.7 / 5, 0.4 / 5  # Hairer & Wanner 1996, section IV.2


@dataclass(frozen=True, kw_only=True)
class DormandPrince(FlowSolver):
    """Steps as long as the tolerance allows, the same for all samples of a batch: the worst sample decides.

    The last slope of a step is the first of the next; a rejected step is tried again, shorter, from where it began.
    With ``n`` steps tried that is 6 n + 2 evaluations. ``steps`` bounds n.

    Attributes:
        rtol: error of a step that is allowed, in parts of the state.
        atol: error of a step that is allowed, in standard deviations.
    """

    name = "dopri5"
    rtol: float
    atol: float

    def __post_init__(self) -> None:
        """Refuse tolerances that nothing meets."""
        super().__post_init__()
        if not (self.rtol >= 0.0 and self.atol > 0.0):
            raise ValueError(
                f"solver.rtol must not be negative and solver.atol positive, got {self.rtol} and {self.atol}."
            )

    def solve(
        self, denoise: CountingDenoiser, process: NoiseProcess, x: States, rng: Rng
    ) -> Iterator[States]:
        """Yield the state after each accepted step.

        Raises:
            ValueError: the tolerance is not met in ``steps`` steps.
        """

        def u(x: Tensor, t: Tensor) -> Tensor:
            return process.velocity(x, denoise(x, t), t)

        t, slope = 1.0, u(x, x.new_tensor(1.0))
        length = min(
            0.1, 0.01 * float(x.square().mean().sqrt() / slope.square().mean().sqrt().clamp(min=1e-12))
        )
        error_before, may_grow = 1.0, True
        for _ in range(self.steps):
            length = min(length, t - process.t_min)
            slopes = stage_slopes(_PAIR, u, x, x.new_tensor(t), x.new_tensor(-length), slope)
            ahead = x - length * combine(slopes, _FIFTH)
            error = self._error(length * combine(slopes, _ERROR), x, ahead)
            if error > 1.0:
                length *= max(_SHRINK, _SAFETY * error**-0.2)
                may_grow = False
                continue
            t, x, slope = t - length, ahead, slopes[-1]
            yield x
            if t - process.t_min < 1e-7:
                yield denoise(x, x.new_tensor(process.t_min))
                return
            error = max(error, 1e-4)
            factor = _SAFETY * error**-_PI_NOW * error_before**_PI_BEFORE
            length *= min(_GROW if may_grow else 1.0, max(_SHRINK, factor))
            error_before, may_grow = error, True
        raise ValueError(
            f"solver=dopri5 reached t = {t:.3g} in {self.steps} steps with rtol={self.rtol:g} and atol={self.atol:g}. "
            "Raise solver.steps or the tolerances."
        )

    def _error(self, error: Tensor, x: Tensor, ahead: Tensor) -> float:
        """Return the largest error of a sample, 1 being what is allowed."""
        scale = self.atol + self.rtol * torch.maximum(x.abs(), ahead.abs())
        return float((error / scale).square().mean(-1).sqrt().max())
