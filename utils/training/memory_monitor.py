"""How much memory training and validation hold at most, beside what plans foretell, and how much is left."""

from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from sceneleapultra.utils.core.resources import GIB

_PROCESS = Path("/proc/self")


class MemoryMonitor(Callback):
    """Log ``perf/peak_train_gib``, ``perf/peak_val_gib`` and ``perf/left_gib`` at the end of each of these stages.

    Of a GPU: what tensors held, by the allocator's own counters, and what no tensor holds. On a CPU: the resident
    memory of the process, and what the machine has available. No step waits for it, and no memory is given back.

    Raises:
        ValueError: on a CPU, a system that does not tell the most a process held since it was last asked.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with training."""
        self._restart, self._read = _meter(pl_module.device)
        self._restart()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End a stage of training."""
        self._end_stage(trainer, "train")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End a validation."""
        self._end_stage(trainer, "val")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the last stage."""
        self._end_stage(trainer, "train")

    def _end_stage(self, trainer: pl.Trainer, stage: str) -> None:
        if trainer.sanity_checking:
            return
        peak, left = self._read()
        self._restart()
        values = {f"perf/peak_{stage}_gib": peak / GIB, "perf/left_gib": left / GIB}
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step)


def _meter(device: torch.device) -> tuple[Callable[[], None], Callable[[], tuple[int, int]]]:
    """Return what forgets the peak so far, and what reads the peak and what is left, in bytes."""
    if device.type == "cuda":

        def read() -> tuple[int, int]:
            free, _ = torch.cuda.mem_get_info(device)
            cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            return torch.cuda.max_memory_allocated(device), free + cached

        return lambda: torch.cuda.reset_peak_memory_stats(device), read
    if not (_PROCESS / "clear_refs").exists():
        raise ValueError(
            "callbacks.memory: this system does not tell the most memory a process held (Linux does, in /proc). Leave "
            "it out, or train on a GPU."
        )

    def restart() -> None:
        (_PROCESS / "clear_refs").write_text("5")

    def resident() -> tuple[int, int]:
        return _read_kilobytes(_PROCESS / "status", "VmHWM"), _read_kilobytes(
            Path("/proc/meminfo"), "MemAvailable"
        )

    return restart, resident


def _read_kilobytes(path: Path, name: str) -> int:
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])
