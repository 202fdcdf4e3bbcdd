"""How a training's checkpoints are written, and what in them does not depend on where their folder lies."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.plugins.io import CheckpointIO

from sceneleapultra.utils.core.torch_files import read_torch, write_torch
from sceneleapultra.utils.training.guard import nonfinite_state
from sceneleapultra.utils.training.metrics_csv import MetricsCsv
from sceneleapultra.utils.training.run_folder import previous
from sceneleapultra.utils.training.sharding import is_sharded

log = logging.getLogger(__name__)


class CheckpointFiles(CheckpointIO):
    """Writes checkpoints beside their place, synced and renamed, and checks their sums when it reads them.

    Lightning's own goes through a temporary folder: on another file system than the run's, a kill leaves half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one; ``storage_options["keep"]`` is where the one before is kept."""
        write_torch(Path(path), checkpoint, **(storage_options or {}))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read one into the memory of the CPU.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is damaged.
        """
        content: dict[str, Any] = read_torch(Path(path))
        return content

    def remove_checkpoint(self, path: Any) -> None:
        """Remove one."""
        Path(path).unlink(missing_ok=True)


class LastCheckpoint(Checkpoint):
    """Write the checkpoint from which the same command continues: every n steps, and at a training's end of any kind.

    What is written is the state at the end of an optimizer step, with the place in the data that belongs to it; it is
    written when the step's metrics are logged and, where a validation is due at the step, when that has ended. A
    training that ends within a validation owes it: it comes first when the training is continued.

    Args:
        path: the file; the one before is kept beside it, as ``last-1.ckpt``.
        every_n_steps: steps between checkpoints.
    """

    def __init__(self, *, path: str, every_n_steps: int) -> None:
        super().__init__()
        self.path = Path(path)
        self.every_n_steps = every_n_steps
        self._position: dict[str, Any] = {}  # in the data, at the end of the last step
        self._step = self._saved_step = 0
        self._due = self._owed = self._saving = False
        self._keep = True
        self._changing = 0  # the batch in which the optimizer steps, counted from 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count, remove what a kill left half written, and make up for a validation that is owed."""
        if trainer.is_global_zero:
            for part in self.path.parent.glob(".*.tmp.*"):
                part.unlink(missing_ok=True)
        self._step = self._saved_step = trainer.global_step
        # Continued from the one before, because the last was damaged: keep the sound one.
        self._keep = trainer.ckpt_path is None or Path(trainer.ckpt_path).name == self.path.name
        self._make_up(trainer)

    def on_before_optimizer_step(self, trainer: pl.Trainer, *args: Any) -> None:
        """Remember that the weights change until the batch has ended."""
        self._changing = trainer.fit_loop.epoch_loop.batch_progress.total.ready

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Take the position; with gradient accumulation several batches share a step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        loops = trainer._checkpoint_connector._get_loops_state_dict()
        self._position = {"loops": loops, "epoch": trainer.current_epoch}
        loop = trainer.fit_loop
        assert loop._data_fetcher is not None
        self._owed = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
        self._due = self._due or self._step % self.every_n_steps == 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Owe no validation."""
        self._owed = False

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Write what is due."""
        if self._due:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what is due."""
        if self._due:
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last state."""
        if self._step != self._saved_step:
            self._save(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make up for a validation that is owed where no step was left to train."""
        self._make_up(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write the state of the last step, where it is whole and finite."""
        # Only what every process has agreed to, an orderly stop, is an exception in all of them.
        agreed = isinstance(exception, SystemExit)
        if is_sharded(pl_module) and not agreed:  # no process has the state of the others
            return
        whole = trainer.fit_loop.epoch_loop.batch_progress.total.completed >= self._changing
        if self._step == self._saved_step or not whole or nonfinite_state(trainer, pl_module):
            return
        self._save(trainer, on_every_rank=agreed)

    def state_dict(self) -> dict[str, Any]:
        """Say whether the validation of this step is still to be done."""
        return {"validation_owed": self._owed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what is owed."""
        self._owed = state_dict.get("validation_owed", False)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the position of the last step in place of where the training is by now."""
        if self._saving:
            checkpoint.update(self._position)

    def _save(self, trainer: pl.Trainer, *, on_every_rank: bool = True) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # Before it is written: what cannot be written is not tried again when the training ends for it.
        self._due, self._saved_step = False, self._step
        for logger in trainer.loggers:
            logger.write() if isinstance(logger, MetricsCsv) else logger.save()
        options = {"keep": previous(self.path)} if self._keep else None
        self._saving = True
        try:
            if on_every_rank:
                trainer.save_checkpoint(self.path, storage_options=options)
            else:
                content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
                trainer.strategy.save_checkpoint(content, self.path, storage_options=options)
        finally:
            self._saving = False
        self._keep = True

    def _make_up(self, trainer: pl.Trainer) -> None:
        """Run the validation that is owed, as Lightning runs one between batches."""
        if not self._owed:
            return
        log.info(f"The validation of step {trainer.global_step}, which was interrupted, comes first.")
        loop = trainer.fit_loop.epoch_loop.val_loop
        loop.restarting = False
        trainer.validating = True
        loop.run()
        trainer.training = True
        self._owed = False
        self._save(trainer)


class BestCheckpoint(ModelCheckpoint):
    """Keep the weights of the validation with the best value; which one that is stays known wherever the folder lies.

    Args:
        dirpath: folder.
        filename: name without ``.ckpt``.
        monitor: the metric.
        mode: whether the best is its ``min`` or its ``max``.
    """

    def __init__(self, *, dirpath: str, filename: str, monitor: str, mode: str) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        """Where checkpoints hold the state; as Lightning's own callback, which wrote those of 0.2.0."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its file, by name."""
        return self._rebased(super().state_dict(), "")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best value, with its file in today's folder."""
        state = self._rebased(state_dict, str(self.dirpath))
        if state["best_model_path"] and not Path(state["best_model_path"]).is_file():
            log.warning(
                f"{state['best_model_path']} is gone: the next validation's weights are kept as best."
            )
            return
        super().load_state_dict(state)
        self.current_score = state["current_score"]

    def _rebased(self, state: dict[str, Any], folder: str) -> dict[str, Any]:
        def place(path: str) -> str:
            return str(Path(folder, Path(path).name)) if path else ""

        paths = {key: place(state[key]) for key in state if key.endswith("_path")}
        best = {place(path): score for path, score in state["best_k_models"].items()}
        return {**state, **paths, "best_k_models": best, "dirpath": folder}
