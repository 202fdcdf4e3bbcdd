"""Is a training whose weights are divided among processes the training of one process, in every file it leaves?"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra import initialize_config_dir

from factories.training import TINY, assert_same, leaves, state
from sceneleapultra.models.assembly import assemble
from sceneleapultra.models.inference import load_grasp_model
from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.training.validate import validate

ROOT = Path(__file__).resolve().parent.parent
FSDP = ("hardware.strategy=fsdp", "hardware.devices=2")


@pytest.fixture
def words(tiny_data: list[str]) -> list[str]:
    return [*tiny_data, *TINY]


def composed(words: list[str]) -> Any:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose("config", overrides=words)


def train_alone(words: list[str], folder: Path, *more: str) -> None:
    own = [*words, f"run_dir={folder}", *more]
    train(composed(own), own)


def train_divided(words: list[str], folder: Path, *more: str) -> None:
    command = [
        sys.executable,
        "train_lightning.py",
        *words,
        "data.batch_size=2",
        *FSDP,
        f"run_dir={folder}",
        *more,
    ]
    environ = {k: v for k, v in os.environ.items() if k != "SCENELEAPULTRA_RUN_ID"}
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, env=environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.ddp
@pytest.mark.parametrize("more", [(), ("hardware.recompute=[decoder]", "trainer.accumulate_grad_batches=2")])
def test_divided_weights_train_what_whole_ones_train(
    words: list[str], tmp_path: Path, more: tuple[str, ...]
) -> None:
    """Gradients are clipped: the norm is that of all parts. The last checkpoint is loaded as any other."""
    assert composed(words).trainer.gradient_clip_val == 1.0
    train_alone(words, tmp_path / "one", "trainer.max_steps=5", *more)
    train_divided(words, tmp_path / "two", "trainer.max_steps=5", *more)
    for checkpoint in ("last.ckpt", "best.ckpt"):
        one, two = (state(tmp_path / name, checkpoint) for name in ("one", "two"))
        assert_same(one, two, tolerance=1e-6)
        assert all(type(value) is torch.Tensor for value in two.values() if isinstance(value, torch.Tensor))
    files = [
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("one", "two")
    ]
    assert files[0].keys() == files[1].keys()
    loaded = load_grasp_model(tmp_path / "two/checkpoints/last.ckpt")
    saved = files[1]["state_dict"]
    assert_same(
        leaves({f"generator.{name}": value for name, value in loaded.generator.state_dict().items()}),
        leaves(saved),
    )


@pytest.mark.ddp
def test_a_divided_run_is_continued_by_ddp_and_by_one_process_and_back(
    words: list[str], tmp_path: Path
) -> None:
    train_alone(words, tmp_path / "one", "trainer.max_steps=6")
    two = tmp_path / "two"
    train_divided(words, two, "trainer.max_steps=2")
    train_divided(words, two, "trainer.max_steps=4", "hardware.strategy=auto")
    train_divided(words, two, "trainer.max_steps=6")
    assert_same(state(tmp_path / "one"), state(two), tolerance=1e-6)
    train_alone(words, two, "data.batch_size=2", "trainer.max_steps=7")
    assert state(two)["/step"] == 7


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["callbacks=default"], "callbacks.simulation samples in one of them. Pass callbacks=no_simulation."),
        (
            ["+callbacks.term_gradients._target_=sceneleapultra.utils.training.loss_terms.TermGradientNorms"],
            "callbacks.term_gradients needs whole ones. Leave it out, or pass hardware.strategy=auto.",
        ),
        (
            ["hardware.passes=2"],
            "a step in passes needs whole ones. Pass hardware.passes=1 hardware.max_passes=1.",
        ),
        (["hardware.max_passes=4"], "a step in passes needs whole ones."),
        (["hardware.precision=bf16-true"], "at trainer.precision 32-true or bf16-mixed, got bf16-true."),
    ],
)
def test_settings_that_need_whole_weights_are_refused(
    words: list[str], more: list[str], sentence: str
) -> None:
    with pytest.raises(ValueError) as caught:
        validate(composed([*words, *FSDP, *more]))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ["hardware.devices=1"],
            "divides the weights among processes, and there is one. Pass hardware.devices=<more>.",
        ),
        (
            ["model/generator/hand_encoder=graph"],
            "cannot train a model of several hands, which share whole weights. Pass hardware.strategy=auto.",
        ),
    ],
)
def test_models_that_need_whole_weights_are_refused(words: list[str], more: list[str], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        assemble(composed([*words, *FSDP, *more]))
    assert str(caught.value) == f"hardware.strategy=fsdp {sentence}"
