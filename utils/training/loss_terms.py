"""What a training of named loss terms can tell about them: which they are, and whose gradient is how large."""

from typing import Protocol, runtime_checkable

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


class TermGradientNorms(Callback):
    """Log the norm of each loss term's gradient, ``train/grad_norm_<term>``: which term pulls how much.

    Costs a backward pass per term in the steps that are measured, and changes nothing of the training.

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
        for name, term in pl_module.weighted_losses().items():
            if not term.requires_grad:
                continue
            gradients = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
            norms = torch._foreach_norm([g for g in gradients if g is not None])
            pl_module.log(f"train/grad_norm_{name}", torch.stack(list(norms)).norm())
