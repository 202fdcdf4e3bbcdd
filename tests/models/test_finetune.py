"""Training that starts from a checkpoint: the weights are taken over, and another architecture is named."""

import logging
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from factories.models import small_model
from sceneleapultra.models.checkpoints.init import start_from
from sceneleapultra.models.checkpoints.migrate import migrated
from sceneleapultra.models.inference import load_grasp_model
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group

MODELS = CONFIG_DIR.parent / "model_zoo"
SHIPPED = MODELS / "leap_table_cpu" / "model.ckpt"


def test_weights_are_taken_over() -> None:
    trained = load_grasp_model(SHIPPED).module
    module = load_grasp_model(SHIPPED).module
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    start_from(module, SHIPPED, frame="tabletop")
    theirs = dict(trained.named_parameters())
    for name, mine in module.named_parameters():
        assert torch.equal(mine, theirs[name]) or name == "scorer.decoder.out.bias"


def test_clearance_that_was_never_learned_begins_at_even_odds(tmp_path: Path) -> None:
    """The scorer of the older model has one output; what migration adds is not what learning starts from."""
    before = load_grasp_model(SHIPPED).module.scorer.decoder.out.bias
    module = load_grasp_model(SHIPPED).module
    start_from(module, SHIPPED, frame="tabletop")
    after = module.scorer.decoder.out.bias
    assert before[1] == 20.0 and after[1] == 0.0 and after[0] == before[0]
    saved = migrated(torch.load(SHIPPED, weights_only=True))
    saved["state_dict"]["scorer.decoder.out.weight"][1] += 0.1  # it has learned something of clearance
    torch.save(saved, tmp_path / "learned.ckpt")
    start_from(module, tmp_path / "learned.ckpt", frame="tabletop")
    assert torch.equal(module.scorer.decoder.out.bias, before)


def test_scorer_of_another_kind_begins_anew_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    settings = load_grasp_model(SHIPPED).module.config["model"]
    other = load_group("model/generator/heads/score", "surface")
    module = build(OmegaConf.create({**settings, "scorer": other, "optimizer": None, "scheduler": None}))
    own = {name: p.clone() for name, p in module.scorer.named_parameters()}
    with caplog.at_level(logging.INFO):
        start_from(module, SHIPPED, frame="tabletop")
    assert "begins anew" in caplog.text
    assert all(torch.equal(p, own[name]) for name, p in module.scorer.named_parameters())
    trained = load_grasp_model(SHIPPED).module.denoiser.state_dict()
    assert all(
        torch.equal(p, trained[name])
        for name, p in module.denoiser.state_dict().items()
        if isinstance(p, torch.Tensor)
    )


def test_another_reference_point_is_refused() -> None:
    module = load_grasp_model(SHIPPED).module
    module.denoiser.codec.reference_depth = 0.07
    with pytest.raises(ValueError, match=r"0\.02 m in front of the palm.*Pass model\.reference_depth=0\.02"):
        start_from(module, SHIPPED, frame="tabletop")


def test_another_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="was trained in frame 'tabletop', the data are in 'camera_centric'"):
        start_from(load_grasp_model(SHIPPED).module, SHIPPED, frame="camera_centric")


def test_another_architecture_is_named_by_its_first_difference() -> None:
    with pytest.raises(
        ValueError, match=r"model\.ckpt has denoiser\.\S+ of shape \(\S+ ?\d*\), the model to be"
    ):
        start_from(small_model(), SHIPPED, frame="tabletop")
    smaller = load_grasp_model(SHIPPED).module
    del smaller.denoiser.anchor_head
    with pytest.raises(
        ValueError, match=r"has denoiser\.anchor_head\.\S+ of shape .*, the model to be trained not at all"
    ):
        start_from(smaller, SHIPPED, frame="tabletop")
