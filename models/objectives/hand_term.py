"""What all terms share that look at the predicted hand itself: its precision, its noise level, which grasps count."""

from abc import abstractmethod
from typing import TypeVar

from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import PlacedHand
from sceneleapultra.models.objectives.context import PredictionContext
from sceneleapultra.models.objectives.schedule import NoiseFactor
from sceneleapultra.models.objectives.term import GraspTerm, Weight
from sceneleapultra.utils.core.precision import full_precision

Number = TypeVar("Number", int, float)


class HandTerm(GraspTerm):
    """A value of each predicted hand; kinematics and distances are float32 in any precision.

    Args:
        weight: see :class:`~sceneleapultra.models.objectives.term.LossTerm`.
        by_noise: factor by the noise level of each scene; None for none.
    """

    needs: tuple[str, ...] = ("hand_hat", "counted")

    def __init__(self, *, weight: Weight, by_noise: NoiseFactor | None) -> None:
        super().__init__(weight=weight)
        self.by_noise = by_noise
        if by_noise is not None:
            self.needs = (*self.needs, "t", "snr")

    @abstractmethod
    def measure(self, hand: PlacedHand, context: PredictionContext) -> Float[Tensor, "b g"]:
        """Return the value of each predicted hand, in the frame of the cloud."""

    def values(self, context: PredictionContext) -> tuple[Float[Tensor, "b g"], Bool[Tensor, "b g"]]:  # type: ignore[override]
        """Return what is measured, times the factor of its noise level."""
        hand = context.hand_hat  # before autocast is off: the network behind it keeps its precision
        with full_precision(hand.T_frame_body.device.type):
            values = self.measure(hand, context)
            if self.by_noise is not None:
                # By ``needs``, only contexts that have both come here.
                values = values * self.by_noise(context.t, context.snr)[:, None]  # type: ignore[attr-defined]
        return values, context.counted


def at_least(key: str, value: Number, least: float) -> Number:
    """Return a setting of a term.

    Raises:
        ValueError: it is below ``least``.
    """
    if not value >= least:
        raise ValueError(f"{key}: expected at least {least:g}, got {value:g}.")
    return value
