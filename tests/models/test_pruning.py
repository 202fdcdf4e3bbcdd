"""Does pruning remove what does nothing at no cost, the rest at the least, and is the result a model like others?"""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from factories.models import awake, scene_batch, small_decoder, small_generator
from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.init import init_weights
from sceneleapultra.models.checkpoints.load import build_generator, load_generator, read_checkpoint
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.decoder.unet import UNetConfig
from sceneleapultra.models.pruning import keep_units, prune, write_pruned

SEEDS = [0, 1, 2]


def moments_of(units: torch.Tensor) -> torch.Tensor:
    rows = nn.functional.pad(units, (0, 1), value=1.0)
    return rows.T @ rows / len(rows)


def output(weights: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    return units @ weights[:, :-1].T + weights[:, -1]


@pytest.fixture
def units() -> torch.Tensor:
    """What a layer reads: 200 times six numbers, which go together."""
    torch.manual_seed(0)
    return torch.randn(200, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 1.0


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_units_that_are_zero_that_nothing_reads_or_that_repeat_others_go_at_no_cost(units, weights):
    units[:, 1] = 0.0
    units[:, 4] = 0.5 * units[:, 2] - 0.25 * units[:, 3] + 3.0
    weights[:, 5] = 0.0
    before = output(weights, units)
    kept, fitted, error = keep_units(moments_of(units), weights, 3)
    assert {1, 5}.isdisjoint(kept.tolist()) and error < 1e-4
    assert_close(output(fitted, units[:, kept]), before, atol=1e-3, rtol=0)  # damped


def test_what_is_left_is_fitted_by_least_squares(units, weights):
    kept, fitted, error = keep_units(moments_of(units), weights, 3)
    rows, wanted = nn.functional.pad(units[:, kept], (0, 1), value=1.0), output(weights, units)
    best = torch.linalg.lstsq(rows, wanted).solution.T
    assert_close(fitted, best, atol=1e-3, rtol=1e-3)
    off = (output(fitted, units[:, kept]) - wanted).square().mean().sqrt()
    spread = (wanted - wanted.mean(0)).square().mean().sqrt()
    assert error == pytest.approx(float(off / spread), rel=1e-3)


def test_the_unit_that_goes_is_the_one_that_is_missed_least(units, weights):
    wanted, left = output(weights, units), {}
    for chosen in combinations(range(6), 5):
        rows = nn.functional.pad(units[:, list(chosen)], (0, 1), value=1.0)
        fit = torch.linalg.lstsq(rows, wanted).solution
        left[chosen] = float((rows @ fit - wanted).square().mean())
    kept, _, _ = keep_units(moments_of(units), weights, 5)
    assert tuple(kept.tolist()) == min(left, key=left.__getitem__)


@pytest.fixture
def generator() -> GraspGenerator:
    """One like the first that was shipped, of two blocks of 32 channels."""
    config = read_checkpoint(LEAP_TABLE_CPU)["model_config"]["generator"]
    sizes = {"dim": 32, "depth": 2, "dim_time": 32}
    torch.manual_seed(0)
    made = awake(build_generator({**config, "decoder": {**config["decoder"], **sizes}})).eval()
    made.normalizer.load_state_dict(load_generator(LEAP_TABLE_CPU)[0].normalizer.state_dict())
    return made


def test_layers_of_which_nothing_is_read_can_go_without_a_change(generator, tmp_path: Path):
    with torch.no_grad():
        for block in generator.decoder.blocks:
            block.forward_layer[2].weight[:, torch.randperm(128)[:64]] = 0.0
        generator.decoder.modulation.weight[:, torch.randperm(32)[:16]] = 0.0
    sampling = {"steps": 2}
    seen, other = scene_batch(num_points=256), scene_batch(num_points=256, seed=7)
    made = prune(
        generator,
        lambda: generator.sample(seen, 3, seeds=SEEDS, sampling=sampling),
        mlp_ratio=2.0,
        dim_time=16,
    )
    assert max(made.error.values()) == 0.0
    before = generator.sample(other, 3, seeds=SEEDS, sampling=sampling)
    after = made.generator.sample(other, 3, seeds=SEEDS, sampling=sampling)
    assert_close(after.hand_pose, before.hand_pose, atol=1e-6, rtol=0)

    write_pruned(tmp_path / "small.ckpt", read_checkpoint(LEAP_TABLE_CPU), made.generator)
    loaded = load_grasp_model(tmp_path / "small.ckpt").generator
    numbers = [sum(p.numel() for p in g.parameters()) for g in (generator, loaded)]
    assert numbers[0] - numbers[1] == 2 * 64 * (32 + 1 + 32) + 16 * (32 + 1 + 9 * 32)
    again = loaded.sample(other, 3, seeds=SEEDS, sampling=sampling)
    assert_close(again.hand_pose, after.hand_pose, atol=0, rtol=0)
    training = build_generator(loaded.config)
    init_weights(training, str(tmp_path / "small.ckpt"), None, frame=loaded.normalizer.frame)
    assert_close(training.state_dict()["decoder.out.weight"], loaded.decoder.out.weight)


def test_what_cannot_be_pruned_is_refused(generator):
    for changes, sentence in (
        ({"mlp_ratio": 8.0}, "mlp_ratio: expected at most 4, what the model has, got 8"),
        ({"dim_time": 0}, "model.generator.decoder.dim_time: expected a width of at least 1, got 0"),
        (
            {"mlp_ratio": 0.001},
            "model.generator.decoder.mlp_ratio: expected a width of at least 1, got 0.001",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            prune(generator, lambda: None, **{"mlp_ratio": 1.0, "dim_time": 16, **changes})
    with pytest.raises(ValueError, match=r"model/generator/decoder=dit, this model has a SetUNet"):
        unet = small_generator(decoder=small_decoder(UNetConfig))
        prune(unet, lambda: None, mlp_ratio=1.0, dim_time=16)


def test_the_program_prunes_a_checkpoint(run_program, generator, tiny_store: Path, tmp_path: Path, capsys):
    source, output = tmp_path / "source.ckpt", tmp_path / "small.ckpt"
    write_pruned(source, read_checkpoint(LEAP_TABLE_CPU), generator)
    arguments = ("prune_model", source, tiny_store, output, "--items", "1")
    assert run_program(*arguments) == 0
    assert "parameters" in capsys.readouterr().out
    assert load_generator(output)[0].config["decoder"]["dim_time"] == 16
    assert run_program(*arguments) == 1
    assert "is there already" in capsys.readouterr().err
