"""What is not finite in one of two processes stops both at the same step, and both say whose batch it was."""

import multiprocessing
import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from factories.ranks import become_rank, free_port
from sceneleapultra.utils.training.guard import NonFiniteGuard

pytestmark = pytest.mark.ddp
PATIENCE_S = 120.0


class Two(pl.LightningModule):
    """Its loss has a value, or a gradient, that is not finite at step 2 of rank 1."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.kind = kind
        self.losses: dict[str, Tensor] = {}

    def weighted_losses(self) -> dict[str, Tensor]:
        return self.losses

    def weighted_losses_of(self, batch: Tensor) -> dict[str, Tensor]:
        bad = self.global_step == 2 and self.global_rank == 1
        constant = torch.tensor(torch.nan if bad and self.kind == "loss" else 0.0)  # its gradient is 0
        root = (0.0 * self.w + (0.0 if bad and self.kind == "gradient" else 1.0)).sum().sqrt()
        return {"linear": self.w.sum(), "constant": constant, "root": root}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.losses = self.weighted_losses_of(batch)
        return torch.stack([*self.losses.values()]).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(rank: int, port: int, kind: str, folder: Path) -> None:
    become_rank(rank, 2, port)
    trainer = pl.Trainer(
        max_steps=4,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        callbacks=[NonFiniteGuard(folder=str(folder))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    try:
        trainer.fit(Two(kind), DataLoader(range(16), batch_size=2))
    except ValueError as error:
        (folder / f"rank{rank}.txt").write_text(str(error))
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("loss", "train/loss is nan, by its terms constant, at step 2 (rank 1). Batch saved to "),
        (
            "gradient",
            "The loss is finite, its gradient is not (w), by its terms root, at step 2 (rank 1). Batch saved to ",
        ),
    ],
)
def test_both_processes_stop_and_name_the_one(tmp_path: Path, kind: str, words: str) -> None:
    port = free_port()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=train, args=(rank, port, kind, tmp_path)) for rank in range(2)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(PATIENCE_S)
        assert [process.exitcode for process in processes] == [1, 1]
    finally:
        for process in processes:
            process.kill()
    said = [(tmp_path / f"rank{rank}.txt").read_text() for rank in range(2)]
    assert said[0] == said[1]
    assert said[0].startswith(f"{words}{tmp_path}/bad_batch_rank1.pt;")
    assert [path.name for path in tmp_path.glob("*.pt")] == ["bad_batch_rank1.pt"]
