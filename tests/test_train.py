"""Does a run train, stop, continue and spread over processes without becoming another run?"""

import csv
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra import initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from factories.training import TINY, assert_same, state
from sceneleapultra.models.assembly import assemble
from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.locks import owned_folder
from sceneleapultra.utils.training.run_folder import git_state

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tiny(tiny_data: list[str]) -> Callable[..., Any]:
    """Train the tiny model in a folder; return the Trainer."""

    def run(folder: Path, *overrides: str) -> Any:
        words = [*tiny_data, *TINY, f"run_dir={folder}", *overrides]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = hydra.compose("config", overrides=words)
        return train(cfg, words)

    return run


@pytest.fixture(scope="module")
def whole(tiny: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an uninterrupted run of nine steps: one and a half passes over the data."""
    folder = tmp_path_factory.mktemp("whole")
    tiny(folder, "trainer.max_steps=9")
    return folder


def test_a_run_leaves_what_reproduces_and_judges_it(tiny: Callable[..., Any], tmp_path: Path) -> None:
    trainer = tiny(tmp_path, "trainer.max_steps=5")
    assert trainer.global_step == 5
    names = {p.name for p in tmp_path.iterdir()}
    assert {
        "config.yaml",
        "overrides.yaml",
        "git.txt",
        "versions.json",
        "metrics.csv",
        "checkpoints",
    } <= names
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert all(float(row["train/loss"]) > 0 for row in rows)
    assert rows[3]["val/loss"] != "" and rows[2]["val/loss"] == ""
    assert OmegaConf.load(tmp_path / "config.yaml").optimizer.eps == 1e-3


def test_checkpoint_holds_plain_values_and_the_average(tiny: Callable[..., Any], tmp_path: Path) -> None:
    tiny(tmp_path, "trainer.max_steps=4", "callbacks.ema.decay=0.9")
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["model_config"]["generator"]["decoder"]["dim"] == 16
    average, current = saved["state_dict"], saved["current_model_state"]
    assert average.keys() == current.keys()
    tensors = [key for key, value in average.items() if isinstance(value, torch.Tensor)]
    assert any(not torch.equal(average[key], current[key]) for key in tensors)


@pytest.mark.parametrize(
    "first", [pytest.param(2, marks=pytest.mark.slow), 6, pytest.param(7, marks=pytest.mark.slow)]
)
def test_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    tiny: Callable[..., Any], whole: Path, tmp_path: Path, first: int
) -> None:
    tiny(tmp_path, f"trainer.max_steps={first}")
    trainer = tiny(tmp_path, "trainer.max_steps=9")
    assert trainer.global_step == 9
    assert_same(state(whole), state(tmp_path))


@pytest.mark.slow
def test_a_run_that_stops_within_a_phase_continues_bit_for_bit(
    tiny: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = "data.loading.progressive=[{steps: 3, batch_size: 6, points: 128}]"
    tiny(tmp_path / "whole", "trainer.max_steps=5", phases)
    assert "3 steps of 6 scenes with 128 points; then as above" in " ".join(capsys.readouterr().out.split())
    tiny(tmp_path / "two", "trainer.max_steps=2", phases)
    tiny(tmp_path / "two", "trainer.max_steps=5", phases)
    assert_same(state(tmp_path / "whole"), state(tmp_path / "two"))
    with pytest.raises(ValueError, match=r"another configuration.*data\.loading\.progressive"):
        tiny(tmp_path / "two", "trainer.max_steps=6", phases.replace("3", "4"))


@pytest.mark.slow
def test_loading_processes_do_not_change_the_run(
    tiny: Callable[..., Any], whole: Path, tmp_path: Path
) -> None:
    tiny(tmp_path, "trainer.max_steps=9", "data.loading.workers=2")
    assert_same(state(whole), state(tmp_path))


@pytest.mark.slow
def test_the_card_says_whether_a_run_is_continued(
    tiny: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(tmp_path, "trainer.max_steps=2")
    assert "starts fresh" in " ".join(capsys.readouterr().out.split())
    tiny(tmp_path, "trainer.max_steps=3")
    said = " ".join(capsys.readouterr().out.split())
    assert "continues from step 2" in said
    assert "trainer.max_steps: 2 -> 3" in said


def test_a_folder_of_another_run_is_not_continued(tiny: Callable[..., Any], tmp_path: Path) -> None:
    tiny(tmp_path, "trainer.max_steps=2")
    sentence = "holds a run with another configuration.*model.generator.decoder.depth: 1 -> 2"
    with pytest.raises(ValueError, match=sentence):
        tiny(tmp_path, "trainer.max_steps=3", "model.generator.decoder.depth=2")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_while_training_is_one_sentence(tiny_data: list[str], tmp_path: Path, workers: int) -> None:
    """A learning rate that no network survives; its message ends the program as wrong input does."""
    words = [
        *TINY,
        *tiny_data,
        "optimizer.lr=1e30",
        "scheduler.warmup_steps=0",
        "trainer.gradient_clip_val=null",
    ]
    words += [f"run_dir={tmp_path}", f"data.loading.workers={workers}", "trainer.max_steps=8"]
    command = [sys.executable, "train_lightning.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(
        r"^train/loss is nan, by its terms translation, .*, at step \d+ \(rank 0\)\. Batch saved to ",
        done.stderr,
        re.MULTILINE,
    )


def test_a_second_run_is_kept_out_of_a_folder(tiny: Callable[..., Any], tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def train_beside() -> None:
        with owned_folder(tmp_path, doing="training", remedy=""):
            ready.set()
            signal.pause()

    other = context.Process(target=train_beside)
    other.start()
    try:
        assert ready.wait(60)
        sentence = rf"^\S+ is in use: \S+lock is held by process {other.pid} on \S+ for \d+ seconds: training"
        with pytest.raises(ValueError, match=sentence):
            tiny(tmp_path, "trainer.max_steps=2")
    finally:
        other.kill()
        other.join()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert tiny(tmp_path, "trainer.max_steps=2").global_step == 2


def test_an_uncommitted_change_need_not_be_text(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True
        )

    git("init", "-q")
    (tmp_path / "file.txt").write_text("before\n")
    git("add", "file.txt")
    git("commit", "-qm", "first")
    (tmp_path / "file.txt").write_bytes(b"\xb1\xad\xd7\xd3\n")
    _, difference = git_state(tmp_path)
    assert b"+\xb1\xad\xd7\xd3\n" in difference.encode(errors="surrogateescape")


@pytest.mark.slow
def test_a_multirun_as_help_writes_it(tiny_data: list[str], tmp_path: Path) -> None:
    words = [*tiny_data, *TINY, "trainer.max_steps=2", f"paths.runs={tmp_path}", "-m", "seed=0,1"]
    command = [sys.executable, str(ROOT / "train_lightning.py"), *words]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    (folder,) = tmp_path.glob("default/*")
    assert {path.name for path in folder.iterdir()} == {"0", "1", "multirun.yaml"}
    for seed in (0, 1):
        assert OmegaConf.load(folder / f"{seed}/config.yaml").seed == seed
        assert (folder / f"{seed}/checkpoints/last.ckpt").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["default"]


@pytest.mark.ddp
def test_a_multirun_of_two_processes(tiny_data: list[str], tmp_path: Path) -> None:
    words = [*tiny_data, *TINY, "trainer.max_steps=2", f"run_dir={tmp_path / 'runs'}", "hardware.devices=2"]
    command = [sys.executable, str(ROOT / "train_lightning.py"), *words, "seed=0,1", "-m"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    for seed in (0, 1):
        assert OmegaConf.load(tmp_path / f"runs/{seed}/config.yaml").seed == seed
        assert (tmp_path / f"runs/{seed}/checkpoints/last.ckpt").is_file()


def test_dry_run_trains_one_batch_and_writes_nothing(
    tiny: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = tiny(tmp_path / "run", "dry_run=true")
    assert trainer.global_step == 1
    assert not (tmp_path / "run").exists()
    assert "dry run passed" in capsys.readouterr().out


def test_wrong_value_is_answered_before_any_data_is_read(tiny: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"model\.generator\.process\.prediction: Input should be 'x0', 'eps', 'v' or 'u'; got 'velocity'",
    ):
        tiny(tmp_path, "model.generator.process.prediction=velocity")


@pytest.mark.slow
def test_a_run_in_passes_is_the_run(tiny: Callable[..., Any], tmp_path: Path) -> None:
    for number in (1, 2):
        words = ("trainer.max_steps=2", "trainer.accumulate_grad_batches=2", f"hardware.passes={number}")
        tiny(tmp_path / str(number), *words)
    assert_same(state(tmp_path / "1"), state(tmp_path / "2"), tolerance=1e-6)


@pytest.mark.slow
def test_wandb_beside_metrics_csv(tiny: Callable[..., Any], tmp_path: Path) -> None:
    tiny(tmp_path, "trainer.max_steps=2", "logger=wandb", "logger.wandb.offline=true")
    assert (tmp_path / "metrics.csv").is_file()


@pytest.mark.slow
def test_a_continued_run_is_one_run_of_mlflow(
    tiny: Callable[..., Any], tmp_path: Path, mlflow_file: str
) -> None:
    from mlflow import MlflowClient

    words = (
        "logger=mlflow",
        f"logger.mlflow.tracking_uri={mlflow_file}",
        "logger.mlflow.experiment=continued",
    )
    for steps in (5, 9):
        tiny(tmp_path, f"trainer.max_steps={steps}", *words)
    client = MlflowClient(tracking_uri=mlflow_file)
    (run,) = client.search_runs([client.get_experiment_by_name("continued").experiment_id])
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == list(range(9))
    assert [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")] == [3, 7]
    assert run.data.params["trainer.max_steps"] == "5" and "5 -> 9" in run.data.tags["sceneleapultra.changed"]
    assert run.info.status == "FINISHED"


@pytest.mark.ddp
@pytest.mark.parametrize("launcher", ["torchrun", "lightning"])
def test_two_processes_train_what_one_trains(
    tiny: Callable[..., Any], tiny_data: list[str], tmp_path: Path, launcher: str
) -> None:
    tiny(tmp_path / "one", "trainer.max_steps=6")
    words = [*tiny_data, *TINY, "trainer.max_steps=6", "data.batch_size=2", f"paths.runs={tmp_path / 'two'}"]
    command = [sys.executable, "train_lightning.py", *words, "trainer.devices=2"]
    if launcher == "torchrun":
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *command[1:-1]]
    environ = {k: v for k, v in os.environ.items() if k != "SCENELEAPULTRA_RUN_ID"}
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, env=environ | {"OMP_NUM_THREADS": "1"})
    folders = list((tmp_path / "two").glob("*/*"))
    assert len(folders) == 1, "one folder per run under any launcher"
    assert_same(state(tmp_path / "one"), state(folders[0]), tolerance=1e-6)


def test_a_model_starts_from_an_encoder_pretrained_on_clouds(tiny_data: list[str], tmp_path: Path) -> None:
    """Pretraining is a run like any other; the model's run begins with its averaged encoder, and says so."""
    kept = [
        word
        for word in TINY
        if not word.startswith(("model.generator.decoder", "model.generator.heads", "model.objective"))
    ]
    words = [
        *tiny_data,
        *kept,
        "experimental=pretrain_encoder",
        "trainer.max_steps=3",
        f"run_dir={tmp_path / 'first'}",
    ]
    words = [word for word in words if word not in {"hardware=cpu", "callbacks=no_simulation"}]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        trainer = train(hydra.compose("config", overrides=words), words)
    assert trainer.global_step == 3
    checkpoint = tmp_path / "first" / "checkpoints" / "last.ckpt"
    averaged = torch.load(checkpoint, weights_only=True)["state_dict"]

    words = [*tiny_data, *TINY, "trainer.max_steps=2", "optimizer.lr=0", f"run_dir={tmp_path / 'second'}"]
    words += [f"encoder_weights={checkpoint}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(hydra.compose("config", overrides=words), words)
    after = torch.load(tmp_path / "second" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    taken = [key for key in averaged if key.startswith("generator.encoder.")]
    assert taken
    for key in taken:
        torch.testing.assert_close(after[key], averaged[key])
    assert f"Encoder starts from {checkpoint}" in (tmp_path / "second" / "run.log").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_sentence(compose: Callable[..., Any]) -> None:
    with pytest.raises(
        ValueError, match=r"^trainer.accelerator=gpu: torch \S+ sees no CUDA device here. Pass hardware=cpu"
    ):
        assemble(compose("hardware=gpu"))


@pytest.mark.parametrize(
    "words",
    [
        [],
        pytest.param(
            [
                "model/generator/decoder=unet",
                "model/generator/process=flow",
                "model.generator.process.prediction=u",
                "sampling/solver=euler",
            ],
            marks=pytest.mark.slow,
        ),
        pytest.param(["model/generator/conditions=category", "data.prompt=category"], marks=pytest.mark.slow),
        pytest.param(["model=grasp_cvae"], marks=pytest.mark.slow),
        pytest.param(["experimental=sparse_view"], marks=pytest.mark.slow),
    ],
    ids=lambda words: " ".join(words[:1]) or "default",
)
def test_mixed_precision_trains_what_single_precision_trains(
    tiny: Callable[..., Any], tmp_path: Path, words: list[str]
) -> None:
    """With clipped gradients, on weights kept in single precision, and a stopped run goes on."""

    def losses(folder: Path) -> list[float]:
        with (folder / "metrics.csv").open() as file:
            return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]

    tiny(tmp_path / "single", "trainer.max_steps=4", *words)
    mixed = ["hardware.precision=bf16-mixed", *words]
    tiny(tmp_path / "mixed", "trainer.max_steps=2", *mixed)
    trainer = tiny(tmp_path / "mixed", "trainer.max_steps=4", *mixed)
    assert trainer.precision == "bf16-mixed" and trainer.gradient_clip_val == 1.0
    assert losses(tmp_path / "mixed") != losses(tmp_path / "single")
    assert losses(tmp_path / "mixed") == pytest.approx(losses(tmp_path / "single"), rel=0.02)
    assert all(v.dtype != torch.bfloat16 for v in state(tmp_path / "mixed").values() if isinstance(v, Tensor))


@pytest.mark.gpu
def test_a_gpu_trains_in_half_precision_and_continues(tiny: Callable[..., Any], tmp_path: Path) -> None:
    words = ["hardware=gpu", "hardware.devices=1"]
    trainer = tiny(tmp_path, "trainer.max_steps=4", *words)
    assert trainer.precision == "bf16-mixed" and trainer.strategy.root_device.type == "cuda"
    trainer = tiny(tmp_path, "trainer.max_steps=8", *words)
    assert trainer.global_step == 8
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 8 and all(0 < loss < float("inf") for loss in losses)
    assert all(v.dtype != torch.bfloat16 for v in state(tmp_path).values() if isinstance(v, Tensor))


@pytest.mark.slow
def test_a_new_learning_rate_is_used_when_a_run_is_continued(
    tiny: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(tmp_path, "trainer.max_steps=2", "optimizer.lr=0.01")
    tiny(tmp_path, "trainer.max_steps=3", "optimizer.lr=0.02", "optimizer.weight_decay=0.3")
    assert "optimizer.lr: 0.01 -> 0.02" in " ".join(capsys.readouterr().out.split())
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    (group, plain), base = saved["optimizer_states"][0]["param_groups"], saved["lr_schedulers"][0]["base_lrs"]
    assert base == [0.02, 0.02] and group["initial_lr"] == 0.02
    assert (group["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    with pytest.raises(ValueError, match=r"trainer\.max_steps=2: .* is already at step 3"):
        tiny(tmp_path, "trainer.max_steps=2", "optimizer.lr=0.02")
