"""What one addend of a loss is: a value over the step's context, a weight, and what it needs.

A term of your own: a subclass of :class:`LossTerm` (or :class:`GraspTerm`) and its ``_target_`` under
``model.objective.terms.<name>``. It is weighted, logged, switched off and named in errors by that name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.models.losses import masked_mean
from sceneleapultra.models.objectives.context import StepContext

Weight = float | Callable[[int], float]  # a constant, or a schedule over training steps


class LossTerm(ABC):
    """One addend of the loss.

    Args:
        weight: a number, or a schedule over training steps; 0 switches the term off, at no cost.

    Attributes:
        needs: properties of the context that it reads; an objective that does not give them refuses the term.
        validated: whether it is computed in validation, too.
        mean_of_scenes: whether its value on a batch is the mean of those on its scenes.
    """

    needs: tuple[str, ...]
    validated: ClassVar[bool] = True
    mean_of_scenes: bool = True

    def __init__(self, *, weight: Weight) -> None:
        if isinstance(weight, int | float) and not weight >= 0.0:
            raise ValueError(f"weight: expected at least 0, got {weight}.")
        self.weight = weight

    @property
    def active(self) -> bool:
        """Whether it is ever computed."""
        return callable(self.weight) or self.weight != 0.0

    def weight_at(self, step: int) -> float:
        """Return its weight at a step of training."""
        return self.weight(step) if callable(self.weight) else self.weight

    @abstractmethod
    def __call__(self, context: StepContext) -> Float[Tensor, ""]:
        """Return its unweighted value on a batch."""


class GraspTerm(LossTerm):
    """A term that has a value for each grasp: averaged over the valid grasps of each scene, then over scenes."""

    @abstractmethod
    def values(self, context: StepContext) -> tuple[Float[Tensor, "b g"], Bool[Tensor, "b g"]]:
        """Return the value of each grasp, and which grasps count."""

    def __call__(self, context: StepContext) -> Float[Tensor, ""]:
        """Return the masked mean."""
        return masked_mean(*self.values(context))
