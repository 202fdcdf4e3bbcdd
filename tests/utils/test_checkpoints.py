"""A training's checkpoints: of every end, with the validation that is owed, finite, and wherever the folder lies."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sceneleapultra.utils.core.torch_files import read_torch
from sceneleapultra.utils.training.callbacks import WarmupEma
from sceneleapultra.utils.training.checkpoints import BestCheckpoint, CheckpointFiles, LastCheckpoint
from sceneleapultra.utils.training.guard import NonFiniteGuard
from sceneleapultra.utils.training.metrics_csv import MetricsCsv
from sceneleapultra.utils.training.run_folder import last_checkpoint, resumed_step

BATCHES = 5  # of an epoch


class Toy(pl.LightningModule):
    """Two weights whose step depends on the batch; ``act`` is called with the hook and the batch of each."""

    def __init__(self, act: Callable[[str, int, Any], None] = lambda *_: None) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(2))
        self.act = act

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.act("train", self.global_step, self)
        loss = ((self.first - batch.float().mean()) ** 2).sum() + (self.second**2).sum()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.act("val", self.global_step, self)
        # Up and down with the step: the best is not the last.
        self.log("val/loss", self.second.sum() + 3.0 * (self.global_step % 6))

    def on_after_backward(self) -> None:
        self.act("backward", self.global_step, self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1)


def fit(folder: Path, module: Toy, *, resume: bool = False, every: int = 4, **settings: Any) -> pl.Trainer:
    """Train for 14 steps with a validation every 4 batches; continue where ``resume``."""
    checkpoints = folder / "checkpoints"
    callbacks = [
        WarmupEma(decay=0.9),
        LastCheckpoint(path=str(checkpoints / "last.ckpt"), every_n_steps=every),
        BestCheckpoint(dirpath=str(checkpoints), filename="best", monitor="val/loss", mode="min"),
        NonFiniteGuard(folder=str(folder)),
    ]
    defaults: dict[str, Any] = {"max_steps": 14, "max_epochs": -1, "val_check_interval": 4}
    torch.manual_seed(0)
    trainer = pl.Trainer(
        **{**defaults, **settings},
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        accelerator="cpu",
        logger=MetricsCsv(path=str(folder / "metrics.csv")),
        log_every_n_steps=1,
        callbacks=callbacks,
        plugins=[CheckpointFiles()],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    # The order of a pass is the same in each; a resumed one starts at its batch, as this project's sampler does.
    start = 0
    path = last_checkpoint(folder) if resume else None
    if path is not None:
        start = read_torch(path)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"] % BATCHES
    batches = [torch.tensor([i, i + 1]) for i in range(BATCHES)]
    train = DataLoader(batches, batch_size=None, sampler=Rest(start))  # type: ignore[arg-type]
    trainer.fit(module, train, DataLoader(range(2)), ckpt_path=path, weights_only=True)
    return trainer


class Rest(torch.utils.data.Sampler[int]):
    """The order of a pass; of the first one from ``start``."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        yield from range(start, BATCHES)


def kept(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    """Read what training continues from."""
    content = read_torch(folder / "checkpoints" / name)
    keys = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "callbacks")
    return leaves({key: content[key] for key in (*keys, "global_step")})


def leaves(node: Any, key: str = "") -> dict[str, Any]:
    if isinstance(node, dict):
        return {k: v for name, child in node.items() for k, v in leaves(child, f"{key}/{name}").items()}
    if isinstance(node, list | tuple):
        return leaves(dict(enumerate(node)), key)
    return {key: node.tolist() if isinstance(node, Tensor) else node}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    fit(folder, Toy())
    return folder


def assert_same_run(folder: Path, whole: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        assert kept(folder, name) == kept(whole, name), name
    assert (folder / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def stop_at(hook: str, step: int) -> Callable[[str, int, Any], None]:
    """Return what ends a training in a hook at a step, once."""
    left = [1]

    def act(where: str, at: int, module: Toy) -> None:
        if (where, at) == (hook, step) and left:
            left.pop()
            raise SystemExit(143)

    return act


@pytest.mark.parametrize(
    ("hook", "step"), [("train", 3), ("train", 5), ("train", 10), ("val", 4), ("val", 8), ("backward", 13)]
)
def test_a_training_that_is_stopped_anywhere_goes_on_as_if_it_had_not(
    tmp_path: Path, whole: Path, hook: str, step: int
) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, Toy(stop_at(hook, step)))
    assert kept(tmp_path)["/global_step"] == step
    fit(tmp_path, Toy(), resume=True)
    assert_same_run(tmp_path, whole)


def test_a_validation_stopped_at_the_last_step_is_made_up_for(tmp_path: Path) -> None:
    fit(tmp_path / "whole", Toy(), max_steps=12)
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", Toy(stop_at("val", 12)), max_steps=12)
    assert kept(tmp_path / "run")["/callbacks/LastCheckpoint/validation_owed"]
    fit(tmp_path / "run", Toy(), resume=True, max_steps=12)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_folder_that_moved_goes_on_and_knows_its_best(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path / "here", Toy(stop_at("train", 9)))
    (tmp_path / "mounted").mkdir()
    shutil.move(tmp_path / "here", tmp_path / "mounted/elsewhere")
    trainer = fit(tmp_path / "mounted/elsewhere", Toy(), resume=True)
    assert_same_run(tmp_path / "mounted/elsewhere", whole)
    best = trainer.checkpoint_callbacks[1]
    assert isinstance(best, BestCheckpoint)
    assert best.best_model_path == str(tmp_path / "mounted/elsewhere/checkpoints/best.ckpt")
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("end", "step"),
    [
        ({"max_steps": 3}, 3),
        ({"max_steps": -1, "max_epochs": 1}, 5),
        ({}, 2),
    ],
)
def test_the_last_checkpoint_is_there_whatever_ends_a_training(
    tmp_path: Path, end: dict[str, Any], step: int
) -> None:
    def act(where: str, at: int, module: Toy) -> None:
        module.trainer.should_stop = not end and at >= 1  # as a time limit or early stopping does

    fit(tmp_path, Toy(act), every=1000, **end)
    saved = read_torch(tmp_path / "checkpoints" / "last.ckpt")
    assert saved["global_step"] == step
    assert (
        saved["state_dict"]["second"].tolist() != saved["current_model_state"]["second"].tolist() or step == 1
    )


def test_an_error_leaves_the_last_state_too(tmp_path: Path, whole: Path) -> None:
    def fail(where: str, step: int, module: Toy) -> None:
        if (where, step) == ("train", 7):
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        fit(tmp_path, Toy(fail))
    assert kept(tmp_path)["/global_step"] == 7
    fit(tmp_path, Toy(), resume=True)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("stop", [("train", 2), ("backward", 3)])
def test_with_accumulation_a_stop_goes_back_to_the_step(tmp_path: Path, stop: tuple[str, int]) -> None:
    """Gradients of half a step are not kept, so the batches of that step are taken again."""
    settings = {"accumulate_grad_batches": 2, "max_steps": 6}
    fit(tmp_path / "whole", Toy(), **settings)
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", Toy(stop_at(*stop)), **settings)
    fit(tmp_path / "run", Toy(), resume=True, **settings)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def spoil(step: int, value: float) -> Callable[[str, int, Any], None]:
    def act(where: str, at: int, module: Toy) -> None:
        if (where, at) == ("backward", step):
            assert module.second.grad is not None
            module.second.grad[1] = value

    return act


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("step", [5, 7, 13])  # in between, where a checkpoint is due after it, the last one
def test_one_bad_gradient_stops_before_the_step(tmp_path: Path, step: int, value: float) -> None:
    module = Toy(spoil(step, value))
    sentence = (
        rf"The loss is finite, its gradient is not \(second\) at step {step} \(rank 0\)\. Batch saved to"
    )
    with pytest.raises(ValueError, match=sentence):
        fit(tmp_path, module)
    assert all(torch.isfinite(p).all() for p in module.parameters())
    (batch,) = torch.load(tmp_path / "bad_batch_rank0.pt", weights_only=True)
    assert batch.tolist() == [step % BATCHES, step % BATCHES + 1]
    saved = read_torch(tmp_path / "checkpoints" / "last.ckpt")
    assert saved["global_step"] == step
    assert all(torch.isfinite(x).all() for x in saved["current_model_state"].values())


def test_all_batches_of_the_step_are_saved_where_only_their_sum_is_bad(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 batches of the step saved to"):
        fit(tmp_path, Toy(spoil(1, float("nan"))), accumulate_grad_batches=2)
    saved = torch.load(tmp_path / "bad_batch_rank0.pt", weights_only=True)
    assert [batch.tolist() for batch in saved] == [[2, 3], [3, 4]]


def test_no_checkpoint_that_is_not_finite_is_written(tmp_path: Path) -> None:
    """Averages go wrong without the loss: only what is about to be written shows it."""

    def act(where: str, step: int, module: Toy) -> None:
        if (where, step) == ("train", 6):
            ema = next(c for c in module.trainer.callbacks if isinstance(c, WarmupEma))  # type: ignore[attr-defined]
            assert ema._average_model is not None
            ema._average_model.module.second.data[0] = torch.nan

    with pytest.raises(
        ValueError, match=r"values are not finite: state_dict\.second\. No checkpoint was written"
    ):
        fit(tmp_path, Toy(act))
    assert read_torch(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4


def test_a_damaged_last_checkpoint_is_said_and_the_one_before_taken(
    tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, Toy(stop_at("train", 10)), every=2)
    last, before = (tmp_path / "checkpoints" / name for name in ("last.ckpt", "last-1.ckpt"))
    assert [read_torch(path)["global_step"] for path in (last, before)] == [10, 8]
    last.write_bytes(last.read_bytes()[:-1000])
    sound = before.read_bytes()
    fit(tmp_path, Toy(), resume=True, every=2, max_steps=9)
    assert f"{last} cannot be read: expected a file of PyTorch" in caplog.text
    assert f"Continuing from the checkpoint before it, {before}." in caplog.text
    assert before.read_bytes() == sound  # the damaged one does not take its place
    fit(tmp_path, Toy(), resume=True)
    assert_same_run(tmp_path, whole)
    for path in (last, before):
        path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"last\.ckpt cannot be read.*empty.*last-1\.ckpt.*cannot be continued"
    ):
        last_checkpoint(tmp_path)


def test_a_run_that_is_further_than_asked_for_is_not_finished(whole: Path) -> None:
    path = last_checkpoint(whole)
    assert resumed_step(path, 14) == resumed_step(path, -1) == 14
    with pytest.raises(ValueError, match=r"trainer\.max_steps=9: .*last\.ckpt is already at step 14"):
        resumed_step(path, 9)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sceneleapultra.utils.core import files

    fsync = files.flush

    def full(path: Path) -> None:
        if full.active and path.name.endswith("last.ckpt"):  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")
        fsync(path)

    def act(where: str, step: int, module: Toy) -> None:
        full.active = step >= 6  # type: ignore[attr-defined]

    full.active = False  # type: ignore[attr-defined]
    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(OSError, match=r"last\.ckpt could not be written \(No space left on device\)"):
        fit(tmp_path, Toy(act))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert read_torch(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4
