"""What happens around training steps: averaged weights, a progress line."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar, WeightAveraging
from torch import Tensor

from sceneleapultra.utils.training.sharding import FullySharded, whole


class WarmupEma(WeightAveraging):
    """Exponential moving average of the weights whose memory grows with the step.

    Decay at step s: min(decay, (1 + s) / (10 + s)), so that a short run is not dominated by its initial weights.
    Validation and ``state_dict`` of every checkpoint use the average; raw weights stay under ``current_model_state``.
    """

    def __init__(self, *, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=self._average)
        self.decay = decay
        self._step = 0
        self._swapped = False  # whether the model holds the averages, as in a validation

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Average after every optimizer step and remember which one it is."""
        if step_idx is None:
            return False
        self._step = step_idx
        return True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Divide the averages as the weights are."""
        if isinstance(trainer.strategy, FullySharded):
            assert self._average_model is not None
            trainer.strategy.shard(self._average_model.module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the raw weights in place: the last checkpoint is still to be written."""

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put the averages into the model that was trained."""
        if stage == "fit" and self._average_model is not None:
            self._copy_average_to_current(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put averages and raw weights under their keys, also while they have changed places."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint["state_dict"] = whole(checkpoint["state_dict"])
        if self._swapped:
            average, raw = checkpoint["current_model_state"], checkpoint["state_dict"]
            checkpoint |= {"state_dict": average, "current_model_state": raw}

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    @torch.no_grad()
    def _average(self, averaged: list[Tensor], current: list[Tensor], _: Tensor) -> None:
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(averaged, current, 1 - decay)


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
