"""Does every weight learn with the rate that its part was given, and is a run continued with them?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra import initialize_config_dir
from torch import nn

from factories.models import scene_batch, small_encoder, small_generator, small_module, small_ptv3
from factories.training import TINY, assert_same, state
from sceneleapultra.models.assembly import assemble
from sceneleapultra.models.learning_rates import LearningRates, build_param_groups
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.network.encoder.fpn import FeaturePyramid
from sceneleapultra.models.optim import adamw, warmup_constant
from sceneleapultra.train_lightning import train
from sceneleapultra.utils.core.config import CONFIG_DIR

LR = 1e-3


def module(layer_decay: float = 1.0, generator: nn.Module | None = None, **multipliers: float) -> GraspModule:
    made = small_module(generator or small_generator())
    named = {name.replace("__", "."): value for name, value in multipliers.items()}
    made.learning_rates = LearningRates(multipliers=named, layer_decay=layer_decay)
    return made


def rates(made: GraspModule) -> dict[str, float]:
    """Return the learning rate of every weight of the generator, by its name."""
    of = {p: g["lr"] for g in made.configure_optimizers()["optimizer"].param_groups for p in g["params"]}
    assert of.keys() == {p for p in made.parameters() if p.requires_grad}, "each weight stands in one group"
    return {name: of[p] for name, p in made.generator.named_parameters() if p in of}


def test_without_shares_groups_are_those_of_every_run_so_far() -> None:
    plain = small_module()
    for made in (plain, module()):
        matrices, others = made.configure_optimizers()["optimizer"].param_groups
        assert len(matrices["params"]) + len(others["params"]) == len(list(made.parameters()))
        assert "name" not in matrices and matrices["lr"] == others["lr"] == LR
        assert (matrices["weight_decay"], others["weight_decay"]) == (0.01, 0.0)


def test_a_part_learns_with_its_share() -> None:
    """The longest name counts: 0.5 for the decoder's last layer, 0.1 for the rest of the decoder."""
    last = [n for n, _ in small_generator().decoder.named_children()][-1]
    for name, rate in rates(module(encoder=0.2, decoder=0.1, **{f"decoder__{last}": 0.5})).items():
        if name.startswith("encoder."):
            share = 0.2
        elif name.startswith(f"decoder.{last}."):
            share = 0.5
        else:
            share = 0.1 if name.startswith("decoder.") else 1.0
        assert rate == pytest.approx(share * LR, rel=1e-12), name


def test_layers_near_the_points_learn_least() -> None:
    """Two levels and what comes after them: 0.5 squared, 0.5 and 1; all of it times 0.1."""
    for name, rate in rates(module(0.5, encoder=0.1)).items():
        share = 0.1 if name.startswith("encoder.") else 1.0
        share *= {"encoder.stages.fine": 0.25, "encoder.stages.coarse": 0.5}.get(
            ".".join(name.split(".")[:3]), 1.0
        )
        assert rate == pytest.approx(share * LR, rel=1e-12), name


def test_blocks_of_a_transformer_are_its_layers() -> None:
    """The stem, 1 + 2 + 1 blocks down, 1 + 2 up, then norm and output: shares 0.5 to the 8th, ..., 1."""
    encoder = small_ptv3()
    blocks = ["enc.enc0.block0", "enc.enc1.block0", "enc.enc1.block1", "enc.enc2.block0"]
    blocks += ["dec.dec1.block0", "dec.dec0.block0", "dec.dec0.block1"]
    order = ["embedding", *blocks]
    found = rates(module(0.5, small_generator(encoder=encoder)))
    for number, prefix in enumerate(order):
        mine = [r for name, r in found.items() if name.startswith(f"encoder.network.{prefix}.")]
        assert mine and mine == pytest.approx([LR * 0.5 ** (8 - number)] * len(mine), rel=1e-12), prefix
    assert (
        found["encoder.network.enc.enc1.down.proj.weight"]
        == found["encoder.network.enc.enc1.block0.mlp.0.fc1.weight"]
    )
    assert found["encoder.norm.weight"] == found["encoder.out.weight"] == LR


def test_a_pyramid_has_the_layers_of_its_backbone() -> None:
    backbone = small_encoder()
    assert FeaturePyramid(backbone=backbone, num_fine=8, num_coarse=4, dim=32, backend="torch").layers() == (
        backbone.layers()
    )


def test_matrices_of_a_part_decay_and_its_gains_do_not() -> None:
    made = module(0.5, encoder=0.1)
    groups = build_param_groups(made, made.learning_rates.shares(made.generator))
    for group in groups:
        assert all((p.ndim >= 2) != ("weight_decay" in group) for p in group["params"])
    assert [g["name"] for g in groups[:2]] == ["encoder_layer0", "encoder_layer0_no_decay"]


def test_a_share_of_zero_keeps_what_was_there() -> None:
    made = module(encoder=0.0).train()
    optimizer = made.configure_optimizers()["optimizer"]
    before = {name: p.detach().clone() for name, p in made.generator.named_parameters()}
    made.objective.total(made._losses_of(scene_batch(2)), 0).backward()
    optimizer.step()
    moved = {name for name, p in made.generator.named_parameters() if not torch.equal(p, before[name])}
    assert moved and not any(name.startswith("encoder.") for name in moved)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"encodr": 0.1}, r"Unknown learning_rates.multipliers 'encodr'. Did you mean 'encoder'\?"),
        (
            {"encoder__stages__fin": 0.1},
            r"Did you mean 'encoder.stages.fine'\? Available: encoder.stages.coarse, ",
        ),
        ({"encoder": -0.1}, r"learning_rates.multipliers.encoder: expected a share of at least 0, got -0.1"),
        ({"layer_decay": 1.5}, r"learning_rates.layer_decay: expected more than 0, at most 1, got 1.5"),
    ],
)
def test_what_cannot_be_is_a_sentence(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        module(**settings).configure_optimizers()


def test_an_encoder_without_layers_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    made = module(0.5)
    monkeypatch.setattr(made.generator.encoder, "layers", list)
    with pytest.raises(ValueError, match=r"PointNet2 names no layers .* Pass learning_rates.layer_decay=1"):
        made.configure_optimizers()


def test_a_schedule_that_would_drop_shares_is_a_sentence() -> None:
    made = module(encoder=0.1)
    made.scheduler_factory = lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=LR, total_steps=9)
    with pytest.raises(ValueError, match=r"scheduler: OneCycleLR sets learning rates itself"):
        made.configure_optimizers()


def test_a_fused_optimizer_has_the_losses_of_one_that_is_not() -> None:
    """Six steps on one batch: to the rounding of single precision, which grows from step to step."""
    losses = {}
    for fused in (True, False):
        made, batch = module(encoder=0.5).train(), scene_batch(2)
        made.optimizer_factory = lambda groups, fused=fused: adamw(
            groups, lr=LR, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8, fused=fused
        )
        optimizer, losses[fused] = made.configure_optimizers()["optimizer"], []
        for step in range(6):
            optimizer.zero_grad()
            context = made.objective.context(made.generator, batch, step=step, training=True)
            loss = made.objective.total(made.objective.losses(context, training=True), step)
            loss.backward()
            optimizer.step()
            losses[fused].append(float(loss.detach()))
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert losses[True][0] == losses[False][0] and losses[True][-1] != losses[True][0]


@pytest.fixture(scope="module")
def tiny(tiny_data: list[str]) -> Callable[..., Any]:
    def run(folder: Path, *overrides: str) -> Any:
        words = [*tiny_data, *TINY, f"run_dir={folder}", *overrides]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return train(hydra.compose("config", overrides=words), words)

    return run


@pytest.mark.slow
def test_a_run_with_shares_continues_bit_for_bit(tiny: Callable[..., Any], tmp_path: Path) -> None:
    shares = [
        "learning_rates.layer_decay=0.5",
        "+learning_rates.multipliers={encoder: 0.1, heads.score: 2.0}",
    ]
    tiny(tmp_path / "whole", "trainer.max_steps=3", *shares)
    tiny(tmp_path / "two", "trainer.max_steps=2", *shares)
    assert "lr-AdamW/encoder_layer0" in (tmp_path / "two" / "metrics.csv").read_text().splitlines()[0].split(
        ","
    )
    tiny(tmp_path / "two", "trainer.max_steps=3", *shares)
    assert_same(state(tmp_path / "whole"), state(tmp_path / "two"))
    trainer = tiny(tmp_path / "two", "trainer.max_steps=4", shares[0], shares[1].replace("0.1", "0.2"))
    group = trainer.optimizers[0].param_groups[0]
    assert group["name"] == "encoder_layer0" and group["initial_lr"] == pytest.approx(0.2 * 0.25 * 3e-4)
    with pytest.raises(ValueError, match=r"learning_rates: .* \(encoder_layer0; .*; now to none\)"):
        tiny(tmp_path / "two", "trainer.max_steps=5")


def test_a_part_that_is_not_there_is_refused_before_data_are_read(tmp_path: Path) -> None:
    words = [
        *TINY,
        "data.store=nowhere.h5",
        f"run_dir={tmp_path}",
        "+learning_rates.multipliers={encodr: 0.1}",
    ]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = hydra.compose("config", overrides=words)
    with pytest.raises(ValueError, match=r"Did you mean 'encoder'\?"):
        assemble(cfg)


def test_shares_follow_the_schedule() -> None:
    made = module(encoder=0.1)
    made.scheduler_factory = lambda o: warmup_constant(o, warmup_steps=1)
    built = made.configure_optimizers()
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(3):
        found.append({g["name"]: g["lr"] for g in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    assert [f["encoder"] for f in found] == pytest.approx([0.05 * LR, 0.1 * LR, 0.1 * LR])
    assert [f["rest"] for f in found] == pytest.approx([0.5 * LR, LR, LR])
