"""Runs with all heads: continued bit for bit, started from a model without them, with figures in their logs."""

import csv
from pathlib import Path

import hydra
import pytest
import torch
from hydra import initialize_config_dir

from sceneleapultra.models.checkpoints.load import load_generator
from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR

SMALL = [
    *(
        "hardware=cpu",
        "callbacks=no_simulation",
        "logger=csv",
        "scheduler.warmup_steps=0",
        "scheduler.total_steps=6",
    ),
    *("model.generator.decoder.dim=16", "model.generator.decoder.depth=1", "model.generator.decoder.heads=2"),
    *("model.generator.heads.score.widths=[8, 8]", "model.generator.heads.score.dim=16"),
    "model/generator/encoder=pointnet2_small",
    *(
        "data.batch_size=4",
        "data.grasps.number=4",
        "normalizer_scenes=8",
        "model.objective.anchors.reach=0.2",
    ),
    *("trainer.val_check_interval=4", "trainer.log_every_n_steps=1", "callbacks.last.every_n_steps=100"),
]
HEADS = [
    "+model/generator/heads/contact=tokens",
    "+model/generator/heads/segmentation=tokens",
    "model/objective/terms=[contact,segmentation]",
]


@pytest.fixture(scope="module")
def run(tiny_data):
    def trained(folder: Path, steps: int, *overrides: str) -> dict:
        words = [*tiny_data, *SMALL, f"run_dir={folder}", f"trainer.max_steps={steps}", *overrides]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            train(hydra.compose("config", overrides=words), words)
        return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    return trained


def same(first: object, second: object) -> bool:
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.slow
def test_a_run_with_heads_continues_bit_for_bit_and_starts_from_one_without(run, tmp_path: Path):
    whole = run(tmp_path / "whole", 6, *HEADS)
    run(tmp_path / "parts", 3, *HEADS)
    parts = run(tmp_path / "parts", 6, *HEADS)
    assert whole.keys() == parts.keys() and any(".heads.contact." in key for key in whole)
    assert all(same(whole[key], parts[key]) for key in whole)
    with (tmp_path / "whole" / "metrics.csv").open() as file:
        header = set(next(csv.reader(file)))
    assert {"val/contact_auroc", "val/segmentation_mean_iou", "train/contact", "train/segmentation"} <= header
    generator, _ = load_generator(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    assert {"contact", "segmentation"} <= set(generator.heads)


def test_heads_join_a_trained_model_that_lacks_them(run, tmp_path: Path):
    plain = run(tmp_path / "plain", 2)
    checkpoint = tmp_path / "plain" / "checkpoints" / "last.ckpt"
    more = run(tmp_path / "more", 1, *HEADS, f"init_from={checkpoint}", "optimizer.lr=0.0")
    assert set(more) > set(plain)
    assert all(same(more[key], plain[key]) for key in plain), "nothing was learned, all was taken over"
