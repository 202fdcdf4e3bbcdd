"""What training minimizes: named terms over a step's context. Subclasses say which context."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.metrics import MetricPart
from sceneleapultra.models.objectives.states import HeadLoss
from sceneleapultra.models.objectives.term import LossTerm


class Objective(nn.Module, ABC):
    """Named loss terms, and whatever networks training needs that sampling does not.

    Args:
        terms: by name; those of weight 0 are not computed.
        seed: of all random numbers, together with the step and the item.

    Attributes:
        measures_statistics: whether the generator's pose statistics are measured before training.
        next_step: the command that takes a checkpoint of it, and the key it is passed by.
    """

    next_step: ClassVar[tuple[str, str]] = ("python test_lightning.py", "checkpoint")

    measures_statistics: ClassVar[bool] = True
    context_type: ClassVar[type]

    def __init__(self, *, terms: Mapping[str, LossTerm], seed: int) -> None:
        super().__init__()
        self.terms = {name: term for name, term in terms.items() if term.active}
        if not self.terms:
            raise ValueError(
                f"model.objective.terms: every weight of {sorted(terms)} is 0; give at least one another."
            )
        for name, term in self.terms.items():
            available = [key for key in dir(self.context_type) if not key.startswith("_")]
            if missing := [need for need in term.needs if need not in available]:
                raise ValueError(
                    f"model.objective.terms.{name} needs {missing[0]}, which {type(self).__name__} does not give. "
                    f"Switch it off with model.objective.terms.{name}.weight=0."
                )
        self.seed = seed

    def prepare(self, generator: Any) -> None:
        """Check a generator and build what training needs besides it; called once, before training.

        Raises:
            ValueError: a generator that this objective cannot train.
        """

    def context(self, generator: Any, batch: Any, *, step: int, training: bool) -> Any:
        """Return the context of a step, whose random numbers are keyed by (seed, step, item)."""
        return self.context_type(generator, batch, self, step=step, training=training)

    def losses(self, context: Any, *, training: bool) -> dict[str, Tensor]:
        """Return the unweighted value of every term that is active.

        Raises:
            ValueError: the batch lacks what a term reads.
        """
        return {name: term(context) for name, term in self.terms.items() if training or term.validated}

    def metrics(self, context: Any) -> dict[str, MetricPart]:
        """Return what a validation batch adds to figures of merit of the heads that are trained, by name."""
        heads = [
            context.generator.heads[term.head] for term in self.terms.values() if isinstance(term, HeadLoss)
        ]
        return {name: part for head in heads for name, part in head.metrics(context).items()}

    def total(self, losses: Mapping[str, Tensor], step: int) -> Float[Tensor, ""]:
        """Return the weighted sum of terms."""
        return torch.stack([self.terms[name].weight_at(step) * loss for name, loss in losses.items()]).sum()

    def after_step(self, generator: Any) -> None:
        """Act after the optimizer stepped."""

    def training_state(self) -> dict[str, Any]:
        """Return what has to be in a checkpoint besides weights for training to continue."""
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`training_state` returned."""
