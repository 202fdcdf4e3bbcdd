"""Does an adapter learn beside weights that stay, and do these compute what they did without it?"""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from factories.many_hands import many
from factories.models import scene_batch, small_module
from sceneleapultra.hands import load_hand
from sceneleapultra.models.checkpoints.init import init_weights
from sceneleapultra.models.checkpoints.load import load_generator
from sceneleapultra.models.checkpoints.migrate import CHECKPOINT_VERSION
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.many_hands import merged
from sceneleapultra.models.network.low_rank import LowRankLinear, adapters, is_adapter, without_adapters
from sceneleapultra.models.statistics import statistics_settings
from sceneleapultra.utils.training.callbacks import WarmupEma

RANK = "model.generator.hand_encoder.adapter_rank=4"


def checkpoint(generator: GraspGenerator, path: Path) -> Path:
    """Write what a run would."""
    generator.normalizer.palm_mean.copy_(torch.arange(9) * 0.01)
    generator.normalizer.palm_std.copy_(1 + torch.arange(9) * 0.1)
    generator.normalizer.fitted.fill_(True)
    generator.normalizer.frame = "tabletop"
    generator.normalizer.spread()
    weights = {f"generator.{key}": value for key, value in generator.state_dict().items()}
    config = {"generator": generator.config, "objective": None, "cloud": {}, "plugins": []}
    saved = {"state_dict": weights, "model_config": config, "version": CHECKPOINT_VERSION}
    torch.save(saved | {"hand_hash": generator.hand.table_hash}, path)
    return path


def adapted(source: Path, hand: str) -> GraspGenerator:
    """Start a model with adapters from a checkpoint, as training does."""
    generator = many(hand, RANK)
    for layer in adapters(generator):
        torch.nn.init.zeros_(layer.low_rank_up)  # the factory wakes what begins as zero
    init_weights(generator, str(source), None, frame="tabletop")
    return generator


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoint(many("leap_right"), tmp_path / "source.ckpt")


def test_training_moves_adapters_alone_and_without_them_the_source_is_what_it_was(source: Path) -> None:
    before, batch = load_generator(source)[0], scene_batch(2)
    generator = adapted(source, "leap_right")
    as_it_was = before.sample(batch, 3, seeds=[0, 1]).hand_pose
    assert_close(
        generator.sample(batch, 3, seeds=[0, 1]).hand_pose, as_it_was, rtol=0, atol=0
    )  # begins there
    module = small_module(generator)
    for layer in adapters(generator):
        torch.nn.init.zeros_(layer.low_rank_up)
    optimizer = module.configure_optimizers()["optimizer"]
    ema, averaged = WarmupEma(decay=0.99), [p.detach().clone() for p in generator.parameters()]
    for step in range(3):
        context = module.context_of(batch, step=step, training=True)
        module.objective.total(module.objective.losses(context, training=True), step).backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.should_update(step)
        ema._average(averaged, [p.detach() for p in generator.parameters()], torch.tensor(step))
    theirs = dict(before.named_parameters())
    for (key, mine), average in zip(generator.named_parameters(), averaged, strict=True):
        if is_adapter(key):
            assert mine.requires_grad and mine.any(), key
        else:
            assert torch.equal(mine, theirs[key]) and torch.equal(average, theirs[key]), key
    generator.eval()
    with without_adapters(generator):
        assert_close(generator.sample(batch, 3, seeds=[0, 1]).hand_pose, as_it_was, rtol=0, atol=0)
    assert not torch.equal(generator.sample(batch, 3, seeds=[0, 1]).hand_pose, as_it_was)


def test_merged_weights_compute_the_same(source: Path) -> None:
    generator, batch = adapted(source, "allegro_like"), scene_batch(2)
    for layer in adapters(generator):
        torch.nn.init.normal_(layer.low_rank_up, std=0.05)
    plain = merged(generator)
    assert not adapters(plain) and not any(map(is_adapter, plain.state_dict()))
    x = torch.randn(5, 32, dtype=torch.float64)
    for (name, layer), (_, other) in zip(
        ((n, m) for n, m in generator.double().named_modules() if isinstance(m, LowRankLinear)),
        (
            (n, plain.double().get_submodule(n))
            for n, m in generator.named_modules()
            if isinstance(m, LowRankLinear)
        ),
        strict=True,
    ):
        inputs = x[:, :1].expand(5, layer.in_features)
        assert_close(other(inputs), layer(inputs), rtol=1e-6, atol=1e-6, msg=name)
    generator, plain = generator.float(), plain.float()
    made, again = (each.sample(batch, 3, seeds=[0, 1]).hand_pose for each in (generator, plain))
    assert_close(again, made, rtol=0, atol=1e-4)


def test_a_hand_it_never_saw_starts_from_the_statistics_it_learned_by(source: Path) -> None:
    for changes in ([], [RANK]):
        module = small_module(many("allegro_like", *changes))
        module.config = {"generator": module.generator.config, "objective": {"anchors": {}, "seed": 0}}
        assert statistics_settings(module) is not None
        init_weights(module.generator, str(source), None, frame="tabletop")
        assert statistics_settings(module) is None
        normalizer, hand = module.generator.normalizer, load_hand("allegro_like")
        assert_close(normalizer.palm_mean, torch.arange(9) * 0.01, rtol=0, atol=1e-6)
        assert_close(normalizer.mean[3:19], hand.joint_limits.mean(-1), rtol=0, atol=1e-6)


def test_adapters_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"adapter_rank trains adapters of a trained model alone"):
        init_weights(many("leap_right", RANK), None, None, frame="tabletop")
    with pytest.raises(ValueError, match=r"adapter_rank: expected at least 1, or null for none, got 0"):
        many("leap_right", "model.generator.hand_encoder.adapter_rank=0")
