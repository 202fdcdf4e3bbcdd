"""The norm of a loss term's gradient is that of the whole batch, however many processes share it."""

import json
import multiprocessing
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from factories.ranks import become_rank, free_port
from sceneleapultra.utils.training.loss_terms import TermGradientNorms

pytestmark = pytest.mark.ddp
PATIENCE_S = 120.0
# Gradients of the halves point apart: (3, 0, 0) and (-1, 4, 0) by the first term, (0, 0, 2) and nothing by the second.
HALVES = torch.tensor([[3.0, 0.0, 0.0], [-1.0, 4.0, 0.0]]), torch.tensor([[2.0], [0.0]])


class Two(pl.LightningModule):
    """Two terms, means over a batch of their weights times its rows; the second reads a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.own = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(1))
        self.losses: dict[str, Tensor] = {}

    def weighted_losses(self) -> dict[str, Tensor]:
        return self.losses

    def weighted_losses_of(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {name: (x @ w).mean() for name, x, w in zip("ab", batch, (self.w, self.own), strict=True)}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.losses = self.weighted_losses_of(batch)
        return torch.stack([*self.losses.values()]).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def norms(rank: int, world: int, port: int, folder: Path) -> None:
    if world > 1:
        become_rank(rank, world, port)
    trainer = pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        callbacks=[TermGradientNorms(every_n_steps=1)],
        use_distributed_sampler=False,
        log_every_n_steps=1,
        **dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        ),
    )
    mine = slice(None) if world == 1 else slice(rank, rank + 1)
    trainer.fit(Two(), DataLoader([tuple(half[mine] for half in HALVES)], batch_size=None))
    found = [float(trainer.callback_metrics[f"train/grad_norm_{name}"]) for name in "ab"]
    (folder / f"{world}_{rank}.json").write_text(json.dumps(found))


@pytest.mark.filterwarnings("ignore:You defined")
def test_a_norm_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    port = free_port()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=norms, args=(rank, 2, port, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    norms(0, 1, port, tmp_path)
    for process in processes:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in processes] == [0, 0]
    found = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    of_whole = pytest.approx([5**0.5, 1.0])  # of (1, 2, 0) and of 1
    assert found == {"1_0.json": of_whole, "2_0.json": of_whole, "2_1.json": of_whole}
