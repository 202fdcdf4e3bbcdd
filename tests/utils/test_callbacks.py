"""Averaged weights follow their formula, and a loss that is not finite stops the run before the optimizer steps."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sceneleapultra.utils.training.callbacks import PlainProgress, WarmupEma
from sceneleapultra.utils.training.guard import NonFiniteGuard
from sceneleapultra.utils.training.loss_terms import TermGradientNorms


@dataclass(frozen=True)
class Batch:
    x: Tensor
    name: str

    def to(self, *args: object, **kwargs: object) -> "Batch":
        return self


class Line(pl.LightningModule):
    """w moves by -1 per step: the loss is w, the rate 1."""

    def __init__(self, bad_step: int = -1) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.bad_step = bad_step

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.w.sum() * (torch.nan if self.global_step == self.bad_step else 1.0)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(module: Line, folder: Path, *callbacks: pl.Callback, steps: int = 3, **settings: int) -> pl.Trainer:
    trainer = pl.Trainer(
        **settings,
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=any(isinstance(c, PlainProgress) for c in callbacks),
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(
        module, DataLoader(range(8), batch_size=2, collate_fn=lambda rows: Batch(torch.tensor(rows), "toy"))
    )
    return trainer


def test_ema_grows_its_memory_with_the_step(tmp_path: Path) -> None:
    module = Line()
    fit(module, tmp_path, WarmupEma(decay=0.15), steps=3)
    # Weights after the steps: -1, -2, -3. The first average is a copy: -1.
    # Step 1: decay min(0.15, 2/11 = 0.1818) = 0.15 -> 0.15 * -1 + 0.85 * -2 = -1.85
    # Step 2: decay min(0.15, 3/12 = 0.25) = 0.15 -> 0.15 * -1.85 + 0.85 * -3 = -2.8275
    torch.testing.assert_close(module.w.detach(), torch.tensor([-2.8275]))


def test_ema_warm_up_is_below_the_final_decay(tmp_path: Path) -> None:
    module = Line()
    fit(module, tmp_path, WarmupEma(decay=0.999), steps=2)
    # Step 1: decay 2/11 -> 2/11 * -1 + 9/11 * -2 = -20/11
    torch.testing.assert_close(module.w.detach(), torch.tensor([-20 / 11]))


def test_non_finite_loss_stops_before_the_optimizer_and_keeps_the_batch(tmp_path: Path) -> None:
    module = Line(bad_step=2)
    with pytest.raises(
        ValueError, match=r"train/loss is nan at step 2 \(rank 0\).*optimizer was not stepped"
    ):
        fit(module, tmp_path, NonFiniteGuard(folder=str(tmp_path)), steps=5)
    torch.testing.assert_close(module.w.detach(), torch.tensor([-2.0]))
    (saved,) = torch.load(tmp_path / "bad_batch_rank0.pt", weights_only=True)
    assert saved["x"].tolist() == [4, 5]
    assert saved["name"] == "toy"


def test_plain_progress_writes_a_line_when_due(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(Line(), tmp_path, PlainProgress(every_n_steps=2), steps=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["2/3", "3/3"]
    assert "loss -1" in lines[0]


class Terms(Line):
    """The loss is 3 w + w^2 of two named terms; ``bad_step`` makes the second one NaN."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        bad = torch.nan if self.global_step == self.bad_step else 1.0
        self.losses = {"linear": 3.0 * self.w.sum(), "square": bad * self.w.square().sum()}
        return torch.stack(list(self.losses.values())).sum()

    def weighted_losses(self) -> dict[str, Tensor]:
        return self.losses

    def weighted_losses_of(self, batch: Batch) -> dict[str, Tensor]:
        return {"linear": 3.0 * self.w.sum(), "square": self.w.square().sum()}


def test_the_gradient_of_each_term_is_measured_and_training_is_the_same(tmp_path: Path) -> None:
    plain, measured = Terms(), Terms()
    fit(plain, tmp_path, steps=2)
    trainer = fit(measured, tmp_path, TermGradientNorms(every_n_steps=1), steps=2)
    torch.testing.assert_close(plain.w, measured.w, atol=0, rtol=0)
    # w: 0, then 0 - 1 (3 + 2 * 0) = -3: the gradients of the second step are 3 and 2 * -3.
    assert trainer.callback_metrics["train/grad_norm_linear"] == 3.0
    assert trainer.callback_metrics["train/grad_norm_square"] == 6.0


def test_a_module_without_named_terms_has_no_gradients_of_terms(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a module of named loss terms, got Line"):
        fit(Line(), tmp_path, TermGradientNorms(every_n_steps=1), steps=1)


def test_a_loss_that_is_not_finite_is_named_by_its_term(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train/loss is nan, by its terms square, at step 1"):
        fit(Terms(bad_step=1), tmp_path, NonFiniteGuard(folder=str(tmp_path)), steps=3)


class Root(Terms):
    """The gradient of the term ``root`` is NaN at the batch (4, 5), its value is not."""

    def weighted_losses_of(self, batch: Batch) -> dict[str, Tensor]:
        under = 0.0 if 4 in batch.x.tolist() else 1.0
        return {"linear": self.w.sum(), "root": (0.0 * self.w + under).sum().sqrt()}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.losses = self.weighted_losses_of(batch)
        return torch.stack(list(self.losses.values())).sum()


def test_a_gradient_that_is_not_finite_is_named_by_its_term_and_batch(tmp_path: Path) -> None:
    module = Root()
    with pytest.raises(
        ValueError, match=r"its gradient is not \(w\), by its terms root, at step 1 .*\. Batch saved"
    ):
        fit(module, tmp_path, NonFiniteGuard(folder=str(tmp_path)), steps=3, accumulate_grad_batches=2)
    (saved,) = torch.load(tmp_path / "bad_batch_rank0.pt", weights_only=True)
    assert saved["x"].tolist() == [4, 5]
