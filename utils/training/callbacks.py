"""What happens around training steps: averaged weights, the checkpoint to continue from, a guard, a progress line."""

import sys
import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, ProgressBar, RichProgressBar, WeightAveraging
from torch import Tensor

from sceneleapultra.utils.training.loss_terms import nonfinite_terms


class WarmupEma(WeightAveraging):
    """Exponential moving average of the weights whose memory grows with the step.

    Decay at step s: min(decay, (1 + s) / (10 + s)), so that a short run is not dominated by its initial weights.
    Validation and ``state_dict`` of every checkpoint use the average; raw weights stay under ``current_model_state``.
    """

    def __init__(self, *, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=self._average)
        self.decay = decay
        self._step = 0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Average after every optimizer step and remember which one it is."""
        if step_idx is None:
            return False
        self._step = step_idx
        return True

    @torch.no_grad()
    def _average(self, averaged: list[Tensor], current: list[Tensor], _: Tensor) -> None:
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(averaged, current, 1 - decay)


class LastCheckpoint(Checkpoint):
    """Write the checkpoint from which the same command continues: every n steps, and at the last step."""

    def __init__(self, *, path: str, every_n_steps: int) -> None:
        super().__init__()
        self.path = path
        self.every_n_steps = every_n_steps
        self._saved_step = 0

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Save once per due step; with gradient accumulation several batches share a step."""
        step = trainer.global_step
        due = step % self.every_n_steps == 0 or step >= trainer.max_steps
        if due and step != self._saved_step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._saved_step = step
            trainer.save_checkpoint(self.path)


class NonFiniteGuard(Callback):
    """Stop before the optimizer steps when the loss is not finite, and keep the batch that did it."""

    def __init__(self, *, folder: str) -> None:
        self.folder = Path(folder)
        self._batch: Any = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, _: int
    ) -> None:
        """Remember the batch."""
        self._batch = batch

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Look at the loss.

        Raises:
            ValueError: it is not finite.
        """
        if torch.isfinite(loss).all():
            return
        path = self.folder / f"bad_batch_rank{trainer.global_rank}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(_values(self._batch) if is_dataclass(self._batch) else self._batch, path)
        terms = nonfinite_terms(pl_module)
        named = f", by its terms {', '.join(terms)}," if terms else ""
        raise ValueError(
            f"train/loss is {loss.item()}{named} at step {trainer.global_step} (rank {trainer.global_rank}). "
            f"Batch saved to {path}; the optimizer was not stepped. Look for bad values in that batch, or lower "
            "optimizer.lr."
        )


def _values(batch: Any) -> dict[str, Any]:
    """Return the fields of a batch; tensors as copies, because those of loading processes share one block of bytes."""
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return {name: v.clone() if isinstance(v, Tensor) else v for name, v in values.items()}


class PlainProgress(ProgressBar):
    """One line per n steps, for logs that are not a terminal."""

    def __init__(self, *, every_n_steps: int) -> None:
        super().__init__()
        self.every_n_steps = every_n_steps
        self._enabled = True
        self._start = (0.0, 0)

    def disable(self) -> None:
        """Keep silent; Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Speak."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = (time.monotonic(), trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Write a line when one is due."""
        step = trainer.global_step
        if self._enabled and (step % self.every_n_steps == 0 or step == trainer.max_steps):
            rate = (step - self._start[1]) / max(1e-9, time.monotonic() - self._start[0])
            self._write(trainer, "train/", f"step {step}/{trainer.max_steps}  {rate:.1f} steps/s")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the metrics of a validation."""
        if self._enabled and not trainer.sanity_checking:
            self._write(trainer, "val/", f"validation at step {trainer.global_step}")

    def _write(self, trainer: pl.Trainer, stage: str, head: str) -> None:
        metrics = {
            k.removeprefix(stage): float(v)
            for k, v in trainer.callback_metrics.items()
            if k.startswith(stage)
        }
        sys.stdout.write("  ".join([head, *(f"{k} {v:.4g}" for k, v in metrics.items())]) + "\n")
        sys.stdout.flush()


def progress_bar(*, every_n_steps: int) -> ProgressBar:
    """Return a live bar on a terminal, plain lines elsewhere."""
    return RichProgressBar() if sys.stdout.isatty() else PlainProgress(every_n_steps=every_n_steps)
