"""Is the stage that holds most the one that is said to?"""

import csv
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sceneleapultra.utils.training.memory_monitor import MemoryMonitor

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
GIB = 2.0**30


class HoldsMuchIn(pl.LightningModule):
    """Holds 400 MB for a moment, in one of its stages."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage, self.w = stage, nn.Parameter(torch.ones(1))

    def hold(self, stage: str) -> None:
        if stage == self.stage:
            torch.ones(100_000_000)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.hold("train")
        return self.w.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.hold("val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize(("stage", "other"), [("train", "val"), ("val", "train")])
def test_peaks_are_those_of_their_stages(stage: str, other: str, tmp_path: Path) -> None:
    data = DataLoader(torch.zeros(2, 1))
    logger = CSVLogger(tmp_path)
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=logger,
        callbacks=[MemoryMonitor()],
        val_check_interval=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    )
    trainer.fit(HoldsMuchIn(stage), data, data)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    much, little = (
        [row[key] for row in rows if key in row]
        for key in (f"perf/peak_{stage}_gib", f"perf/peak_{other}_gib")
    )
    assert much and little
    assert max(much) - min(little) == pytest.approx(0.4e9 / GIB, abs=0.1)
    assert all(row["perf/left_gib"] > 0 for row in rows if "perf/left_gib" in row)
