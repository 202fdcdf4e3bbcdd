"""Does a training end after the step in which a signal or the time limit came, with that step in its logs?"""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sceneleapultra.utils.core import signals
from sceneleapultra.utils.training.metrics_csv import MetricsCsv
from sceneleapultra.utils.training.stop import OrderlyStop, ends_in_order, seconds


class Line(pl.LightningModule):
    """Gets a signal in one of its steps."""

    def __init__(self, *, in_step: int = -1, in_validation: int = -1) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.in_step, self.in_validation = in_step, in_validation

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if self.global_step == self.in_step:
            os.kill(os.getpid(), signal.SIGUSR1)
        self.log("train/loss", self.w.sum())
        return self.w.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if self.global_step == self.in_validation:
            os.kill(os.getpid(), signal.SIGUSR1)
        self.log("val/loss", self.w.sum())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Seen(Callback):
    validations = 0
    exception: BaseException | None = None

    def on_validation_end(self, *args: Any) -> None:
        self.validations += 1

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.exception = exception


def fit(
    module: Line, folder: Path, *, max_time: str | None = None, steps: int = 6
) -> tuple[pl.Trainer, Seen]:
    """Fit for some steps, validating after every second."""
    seen, data = Seen(), DataLoader(range(8), batch_size=2)
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=MetricsCsv(path=str(folder / "metrics.csv")),
        log_every_n_steps=1,
        callbacks=[seen, OrderlyStop(max_time)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        default_root_dir=folder,
    )
    with signals.stop_on_signals(), ends_in_order(trainer, launched=False):
        trainer.fit(module, data, data)
    return trainer, seen


def steps(folder: Path) -> list[str]:
    return [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]


def test_a_signal_ends_it_after_the_step(tmp_path: Path) -> None:
    with pytest.raises(signals.Stopped) as caught:
        fit(Line(in_step=2), tmp_path)
    assert str(caught.value) == "stopped by SIGUSR1 at step 3 of 6; the same command continues"
    assert caught.value.code == 138
    assert steps(tmp_path) == ["0", "1", "2"]


def test_a_validation_is_not_begun_any_more(tmp_path: Path) -> None:
    with pytest.raises(signals.Stopped, match="at step 4 of 6"):
        fit(Line(in_step=3), tmp_path)
    assert steps(tmp_path) == ["0", "1", "2", "3"]
    assert "val/loss" in (tmp_path / "metrics.csv").read_text()  # that of step 2


def test_a_validation_ends_after_its_batch(tmp_path: Path) -> None:
    with pytest.raises(signals.Stopped, match="at step 2 of 6"):
        fit(Line(in_validation=2), tmp_path)
    assert "val/loss" not in (tmp_path / "metrics.csv").read_text()


def test_in_the_last_step_it_is_done_anyway(tmp_path: Path) -> None:
    trainer, seen = fit(Line(in_step=4), tmp_path, steps=5)
    assert trainer.global_step == 5 and seen.validations == 2 and not trainer.interrupted


def test_a_time_limit_ends_it_after_the_step_without_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, seen = fit(Line(), tmp_path, max_time="00:00:00:00")
    assert trainer.global_step == 1 and seen.validations == 0 and trainer.interrupted
    assert "stopped by trainer.max_time at step 1 of 6; the same command continues" in capsys.readouterr().out
    trainer, _ = fit(Line(), tmp_path, max_time="01:00:00:00")
    assert trainer.global_step == 6


def test_how_a_time_is_written() -> None:
    assert seconds("01:02:03:04") == 93784
    with pytest.raises(
        ValueError, match=r"trainer\.max_time=90 min: expected days:hours:minutes:seconds, for"
    ):
        seconds("90 min")
