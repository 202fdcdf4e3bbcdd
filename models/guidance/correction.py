"""What all corrections of predicted clean grasps share: a few steps down an energy, for every grasp by itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor


class Correction(ABC):
    """Predicted x0 of one batch in, corrected x0 out.

    Attributes:
        below_t: evaluations at or below this time are corrected; the result is, whatever it says.
    """

    below_t: float

    def acts(self, t: Float[Tensor, "b"]) -> bool:
        """Say whether an evaluation at this time, the same for all samples, is corrected."""
        return 0.0 < float(t[0]) <= self.below_t

    @abstractmethod
    def __call__(self, x0: Float[Tensor, "b g d"]) -> Float[Tensor, "b g d"]:
        """Push the energy of each grasp down."""


def descend(
    x0: Float[Tensor, "b g d"],
    energy: Callable[[Tensor], Tensor],
    *,
    iterations: int,
    rate: float,
    max_step: float,
) -> Float[Tensor, "b g d"]:
    """Return states after so many of Polyak's steps, ``x <- x - rate E(x) / ||dE/dx||^2 dE/dx``.

    With rate 1 each goes to where a non-negative energy would vanish, were it linear.

    Args:
        x0: normalized clean states.
        energy: of each grasp, (b g d) -> (b g).
        iterations: steps.
        rate: share of a step.
        max_step: longest step, in standard deviations of the data.
    """
    for _ in range(iterations):
        with torch.enable_grad():
            x = x0.detach().requires_grad_(True)
            value = energy(x)
            (gradient,) = torch.autograd.grad(value.sum(), x)
        square = gradient.square().sum(-1, keepdim=True)
        step = rate * value.detach()[..., None] / square.clamp_min(1e-12) * gradient
        length = step.norm(dim=-1, keepdim=True)
        x0 = x0 - step * (max_step / length.clamp_min(1e-12)).clamp_max(1.0)
    return x0


def check_settings(
    group: str,
    settings: object,
    *,
    at_least_one: tuple[str, ...],
    positive: tuple[str, ...],
    not_negative: tuple[str, ...],
) -> None:
    """Refuse settings without a meaning.

    Raises:
        ValueError: with the key, what was expected, and what came.
    """
    values: Mapping[str, float] = vars(settings)
    for key in at_least_one:
        if values[key] < 1:
            raise ValueError(f"guidance.{group}.{key}: expected at least 1, got {values[key]}.")
    for key in positive:
        if not values[key] > 0.0:
            raise ValueError(f"guidance.{group}.{key}: expected more than 0, got {values[key]}.")
    for key in not_negative:
        if not values[key] >= 0.0:
            raise ValueError(f"guidance.{group}.{key}: expected at least 0, got {values[key]}.")
    if not 0.0 <= values["below_t"] <= 1.0:
        raise ValueError(f"guidance.{group}.below_t: expected 0 to 1, got {values['below_t']}.")
