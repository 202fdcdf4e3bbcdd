"""Training that starts from a checkpoint: the weights are taken over, and another architecture is named."""

import logging
from pathlib import Path

import pytest
import torch

from factories.models import small_encoder, small_generator
from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.models.checkpoints.init import init_weights, start_from
from sceneleapultra.models.checkpoints.load import build_generator, load_generator
from sceneleapultra.models.checkpoints.migrate import migrate
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.objectives.pretraining import EncoderOnly
from sceneleapultra.utils.core.config import CONFIG_DIR, load_group

MODELS = CONFIG_DIR.parent / "model_zoo"
SHIPPED = LEAP_TABLE_CPU


def shipped() -> GraspGenerator:
    return load_generator(SHIPPED)[0]


def test_weights_are_taken_over() -> None:
    trained, generator = shipped(), shipped()
    for parameter in generator.parameters():
        torch.nn.init.zeros_(parameter)
    start_from(generator, SHIPPED, frame="tabletop")
    theirs = dict(trained.named_parameters())
    for name, mine in generator.named_parameters():
        assert torch.equal(mine, theirs[name]) or name == "heads.score.decoder.out.bias"


def test_collision_that_was_never_learned_begins_at_even_odds(tmp_path: Path) -> None:
    """The score head of the older model has one output; what migration adds is not what learning starts from."""
    generator = shipped()
    before = generator.heads["score"].decoder.out.bias.detach().clone()
    start_from(generator, SHIPPED, frame="tabletop")
    after = generator.heads["score"].decoder.out.bias
    assert before[1] == 20.0 and after[1] == 0.0 and after[0] == before[0]
    saved = migrate(torch.load(SHIPPED, weights_only=True))
    # It has learned something of collisions.
    saved["state_dict"]["generator.heads.score.decoder.out.weight"][1] += 0.1
    torch.save(saved, tmp_path / "learned.ckpt")
    start_from(generator, tmp_path / "learned.ckpt", frame="tabletop")
    assert torch.equal(generator.heads["score"].decoder.out.bias, before)


def test_head_of_another_kind_keeps_its_initial_weights_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trained = shipped()
    assert trained.config is not None
    other = dict(load_group("model/generator/heads/score", "surface"))
    heads = {**trained.config["heads"], "score": other}
    generator = build_generator({**trained.config, "heads": heads})
    own = {name: p.clone() for name, p in generator.heads["score"].named_parameters()}
    with caplog.at_level(logging.INFO):
        start_from(generator, SHIPPED, frame="tabletop")
    assert "has no head 'score' of this kind; it keeps its initial weights" in caplog.text
    assert all(torch.equal(p, own[name]) for name, p in generator.heads["score"].named_parameters())
    theirs = trained.state_dict()
    assert all(
        torch.equal(p, theirs[name])
        for name, p in generator.state_dict().items()
        if isinstance(p, torch.Tensor) and not name.startswith("heads.score.")
    )


def test_head_that_is_not_wanted_is_left_behind() -> None:
    trained = shipped()
    assert trained.config is not None
    only = {"anchors": trained.config["heads"]["anchors"]}
    generator = build_generator({**trained.config, "heads": only})
    start_from(generator, SHIPPED, frame="tabletop")
    assert not any(name.startswith("heads.score") for name in generator.state_dict())
    assert torch.equal(generator.decoder.out.weight, trained.decoder.out.weight)


def test_another_reference_point_is_learned_anew_and_said(caplog: pytest.LogCaptureFixture) -> None:
    generator = shipped()
    generator.codec.reference_depth = 0.07
    start_from(generator, SHIPPED, frame="tabletop")
    assert "0.02 m in front of the palm, the model to be trained of one at 0.07 m" in caplog.text
    assert "Pass model.generator.representation.reference_depth=0.02 to keep it" in caplog.text
    assert generator.codec.reference_depth == 0.07
    assert torch.equal(generator.decoder.out.weight, shipped().decoder.out.weight)


def test_shipped_model_is_known_by_its_name() -> None:
    generator = shipped()
    torch.nn.init.zeros_(generator.decoder.out.weight)
    start_from(generator, "leap_table", frame="tabletop")
    assert torch.equal(generator.decoder.out.weight, load_generator("leap_table")[0].decoder.out.weight)


def test_another_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="was trained in frame 'tabletop', the data are in 'camera_centric'"):
        start_from(shipped(), SHIPPED, frame="camera_centric")


def test_another_architecture_is_named_by_its_first_difference() -> None:
    with pytest.raises(ValueError, match=r"\.ckpt has encoder\.\S+ of shape \(\S+ ?\d*\), the model to be"):
        start_from(small_generator(), SHIPPED, frame="tabletop")
    smaller = shipped()
    del smaller.conditioning.null_scene, smaller.geometry
    with pytest.raises(
        ValueError, match=r"has geometry\.\S+ of shape .*, the model to be trained not at all"
    ):
        start_from(smaller, SHIPPED, frame="tabletop")


def test_an_encoder_alone_does_not_start_from_a_whole_model() -> None:
    with pytest.raises(ValueError, match=r"init_from=\S+ starts a model of grasps.*EncoderOnly"):
        init_weights(EncoderOnly(encoder=small_encoder()), str(SHIPPED), None, frame="tabletop")
