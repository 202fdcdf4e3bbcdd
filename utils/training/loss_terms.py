"""What a training of named loss terms can tell about them: which they are, and whose gradient is how large."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor


@runtime_checkable
class HasLossTerms(Protocol):
    """A module whose loss is a sum of named terms.

    Attributes:
        losses: unweighted terms of the present step.
    """

    losses: dict[str, Tensor]

    def weighted_losses(self) -> dict[str, Tensor]:
        """Return the terms of the present step as they are summed."""
        ...

    def weighted_losses_of(self, batch: Any) -> dict[str, Tensor]:
        """Compute the terms of a batch in the present step as they are summed; nothing is logged."""
        ...


def gradients_of_terms(
    terms: Mapping[str, Tensor], weights: Sequence[Tensor]
) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield the gradient of each term by every weight, zero where it does not depend on it; a backward pass each."""
    for name, term in terms.items():
        if term.requires_grad:
            found = torch.autograd.grad(
                term, weights, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            yield name, list(found)


class TermGradientNorms(Callback):
    """Log the norm of each loss term's gradient, ``train/grad_norm_<term>``: which term pulls how much.

    The gradient is that of the whole batch, whatever the number of processes. Costs a backward pass per term in the
    steps that are measured, and changes nothing of the training.

    Args:
        every_n_steps: steps between measurements.
    """

    def __init__(self, *, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise ValueError(
                f"callbacks.term_gradients.every_n_steps: expected at least 1, got {every_n_steps}."
            )
        self.every_n_steps = every_n_steps

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Measure, where it is due.

        Raises:
            ValueError: a module without named terms.
        """
        if trainer.global_step % self.every_n_steps:
            return
        if not isinstance(pl_module, HasLossTerms):
            raise ValueError(
                f"callbacks.term_gradients needs a module of named loss terms, got {type(pl_module).__name__}."
            )
        weights = [p for p in pl_module.parameters() if p.requires_grad]
        for name, gradients in gradients_of_terms(pl_module.weighted_losses(), weights):
            whole = trainer.strategy.reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
            pl_module.log(f"train/grad_norm_{name}", whole.norm())
