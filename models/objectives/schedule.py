"""How much a loss term weighs: by training step, and by the noise level of a sample.

A :class:`WeightSchedule` gives one number for a whole batch and depends on the step alone, so a resumed run continues
it; a plain number in its place is a constant. A :class:`NoiseFactor` gives one number for each sample.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from sceneleapultra.utils.core.names import unknown_name

Shape = Literal["linear", "cosine"]


class NoiseFactor(ABC):
    """What the weight of a sample is multiplied by at its noise level."""

    @abstractmethod
    def __call__(self, t: Float[Tensor, "b"], snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the factors of samples at time ``t`` in [0, 1] and signal-to-noise ratio (alpha / sigma)^2."""


@dataclass(frozen=True, kw_only=True)
class ByTime(NoiseFactor):
    """1 up to time ``full_until``, 0 from ``zero_from`` on, a straight line between.

    The clean grasp expected behind much noise is a mean over many grasps: no hand that could touch anything. Terms of
    geometry and contact are meant for small times.
    """

    full_until: float
    zero_from: float

    def __post_init__(self) -> None:
        """Refuse bounds without a meaning."""
        if not 0.0 <= self.full_until < self.zero_from:
            raise ValueError(
                "A weight by time needs 0 <= full_until < zero_from (times, 0 data, 1 noise), got "
                f"full_until={self.full_until:g} and zero_from={self.zero_from:g}."
            )

    def __call__(self, t: Float[Tensor, "b"], snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the factors of samples at time ``t``."""
        return ((self.zero_from - t) / (self.zero_from - self.full_until)).clamp(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class BySNR(NoiseFactor):
    """The signal-to-noise ratio, bounded: ``minimum`` 0 and ``maximum`` gamma is min-SNR-gamma.

    Source: Hang et al. 2023, section 3.4, for a loss of x0.
    """

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        """Refuse bounds without a meaning."""
        if not 0.0 <= self.minimum <= self.maximum or not 0.0 < self.maximum < math.inf:
            raise ValueError(
                "A weight by SNR needs 0 <= minimum <= maximum, a maximum above 0 and finite (the SNR is infinite at "
                f"t = 0), got minimum={self.minimum:g} and maximum={self.maximum:g}."
            )

    def __call__(self, t: Float[Tensor, "b"], snr: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the factors of samples at this signal-to-noise ratio."""
        return snr.clamp(self.minimum, self.maximum)


@dataclass(frozen=True, kw_only=True)
class WeightSchedule:
    """A weight that goes from ``start`` at ``from_step`` to ``end`` at ``to_step``, and stays there.

    Attributes:
        shape: ``linear``, or ``cosine``: half a wave, slow at both ends.
    """

    shape: Shape
    start: float
    end: float
    from_step: int
    to_step: int

    def __post_init__(self) -> None:
        """Refuse weights and steps without a meaning."""
        if self.shape not in get_args(Shape):
            raise unknown_name("shape of a weight", self.shape, get_args(Shape))
        for key in ("start", "end"):
            if not 0.0 <= getattr(self, key) < math.inf:
                raise ValueError(
                    f"A weight's {key} must be finite and not negative, got {getattr(self, key):g}."
                )
        if not 0 <= self.from_step < self.to_step:
            raise ValueError(
                f"A {self.shape} weight needs 0 <= from_step < to_step, got from_step={self.from_step} and "
                f"to_step={self.to_step}. For a constant weight, give a number."
            )

    def __call__(self, step: int) -> float:
        """Return the weight of a batch at a training step."""
        share = min(max((step - self.from_step) / (self.to_step - self.from_step), 0.0), 1.0)
        if self.shape == "cosine":
            share = 0.5 - 0.5 * math.cos(math.pi * share)
        return self.start + share * (self.end - self.start)
