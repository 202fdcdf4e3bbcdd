"""Are the statistics of poses right, robust to a stray grasp, measured once, and refused where they do not belong?"""

import json
import re
from dataclasses import replace
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from omegaconf import DictConfig

from factories.models import scene_batch, small_module
from sceneleapultra.models.assembly import assemble
from sceneleapultra.models.statistics import compute_statistics, set_statistics, statistics_settings
from sceneleapultra.scripts.compute_statistics import find_statistics
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.training.pose_statistics import Statistics, read_statistics, write_statistics

DESCRIBES = {"data_hash": "abc", "frame": "tabletop", "model": {"seed": 0}}


def test_a_stray_value_does_not_stretch_the_range() -> None:
    """0 to 999 and one million: half a percent below 5 (0.005 * 1000 gaps), 99.5 % at 995; the extreme is kept."""
    values = np.r_[np.arange(1000.0), 1e6][:, None]
    found = Statistics.of(values, ["x"], DESCRIBES)
    x = found.numbers["x"]
    assert x["low"] == pytest.approx(5.0) and x["high"] == pytest.approx(995.0)
    assert (x["min"], x["max"]) == (0.0, 1e6)
    # Cut to 5 .. 995: 5 six times, 6 to 994, 995 six times; symmetrical about 500.
    assert x["mean"] == pytest.approx(500.0)
    variance = (np.square(np.arange(6, 995) - 500.0).sum() + 12 * 495.0**2) / 1000
    assert x["std"] == pytest.approx(np.sqrt(variance))


def test_the_spread_of_normalized_numbers() -> None:
    """A number that hardly varies is divided by 0.001: of 1 and 0.5 the root mean square is sqrt(0.625)."""
    numbers = {"x": {"mean": 2.0, "std": 3.0}, "y": {"mean": 0.0, "std": 0.0005}}
    found = Statistics(DESCRIBES, 5, numbers)
    assert found.scale.tolist() == [3.0, 0.001] and found.spread == pytest.approx(0.625**0.5)


def test_only_successes_within_reach_are_measured() -> None:
    module, batch = small_module(), scene_batch()
    described = compute_statistics(module, [batch], DESCRIBES)
    assert list(described.numbers)[:4] == ["translation_x", "translation_y", "translation_z", "joint_if_mcp"]
    assert len(described.numbers) == 9 + 2 * 16 and described.count <= 24
    success = batch.grasp_success.clone()
    success[:, ::2] = False
    fewer = compute_statistics(module, [replace(batch, grasp_success=success)], DESCRIBES)
    assert 0 < fewer.count < described.count


def test_a_generator_normalizes_by_the_statistics_it_is_given() -> None:
    """Nearly: a thirtieth of the values lies beyond the percentiles of 24 grasps."""
    module = small_module()
    found = compute_statistics(module, [scene_batch()], DESCRIBES)
    set_statistics(module.generator, found)
    normalizer = module.generator.normalizer
    assert normalizer.fitted and (normalizer.frame, normalizer.data_hash) == ("tabletop", "abc")
    rows = torch.from_numpy(np.stack([found.mean, found.mean + found.scale])).float()
    torch.testing.assert_close(normalizer.normalize(rows)[0], torch.zeros(41), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalizer.normalize(rows)[1], torch.ones(41), atol=1e-4, rtol=0)


def test_what_the_clouds_were_like_travels_with_a_generator(tmp_path: Path) -> None:
    """A cube of 6 cm on a table, seen from 0.5 m at 45 degrees."""
    module, batch = small_module(), scene_batch()
    rng = np.random.default_rng(0)
    cube = rng.uniform([-0.03, -0.03, 0.0], [0.03, 0.03, 0.06], (48, 3))
    table = np.c_[rng.uniform(-0.15, 0.15, (48, 2)), np.zeros(48)]
    points = torch.from_numpy(np.concatenate([cube, table])).float().expand(batch.size, -1, -1)
    eye = torch.tensor([0.5, 0.0, 0.5]) / 2**0.5 + torch.tensor([0.0, 0.0, 0.03])
    batch = replace(
        batch,
        scene_pc=points,
        point_valid=torch.ones(batch.size, 96, dtype=torch.bool),
        object_mask=(torch.arange(96) < 48).expand(batch.size, -1),
        viewpoint=eye.expand(batch.size, -1),
    )
    found = compute_statistics(module, [batch], DESCRIBES)
    assert found.views is not None
    assert found.views.distance_m == pytest.approx((0.5, 0.5), abs=0.01)
    assert found.views.elevation_deg == pytest.approx((45.0, 45.0), abs=2.0)
    assert found.views.top_m == pytest.approx((0.06, 0.06), abs=0.005)
    assert 0.05 < found.views.extent_m[0] < 0.11 and 0.02 < found.views.target_share[0] < 0.9
    write_statistics(tmp_path / "s.json", found)
    assert read_statistics(tmp_path / "s.json", DESCRIBES) == found
    set_statistics(module.generator, found)
    fresh = small_module()
    fresh.generator.load_state_dict(module.generator.state_dict())
    assert fresh.generator.normalizer.views == found.views


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[0.0, 1.0], [1.0, np.nan]], "expected finite numbers, but low of y is nan and so on"),
        ([[0.0, 1.0], [np.inf, 1.0]], "expected finite numbers, but low of x is inf"),
        ([[0.5, 1.0], [0.5, 1.0]], "no number varies. Are all grasps of the store the same?"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_statistics_that_cannot_normalize_are_refused(values: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Statistics.of(np.array(values), ["x", "y"], DESCRIBES)


def test_written_statistics_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    made = Statistics.of(np.random.default_rng(0).normal(size=(50, 2)), ["x", "y"], DESCRIBES)
    write_statistics(path, made)
    assert read_statistics(path, DESCRIBES) == made
    for changed, sentence in (
        ({**DESCRIBES, "data_hash": "other"}, "data_hash abc there, other here"),
        ({**DESCRIBES, "frame": "camera_centric"}, "frame tabletop there, camera_centr here"),
        ({**DESCRIBES, "model": {"seed": 1}}, "model.seed 0 there, 1 here"),
    ):
        with pytest.raises(ValueError, match=f"describes something else: {sentence}. Leave statistics=null"):
            read_statistics(path, changed)
    path.write_text(path.read_text().replace('"count": 50', '"count": 51'))
    with pytest.raises(ValueError, match="changed after it was written"):
        read_statistics(path, DESCRIBES)
    path.write_text(path.read_text().replace('"high": ', '"high": NaN, "x": ', 1))
    with pytest.raises(
        ValueError, match=r"s\.json: Statistics of poses: expected finite numbers, but high of x is nan"
    ):
        read_statistics(path, DESCRIBES)
    path.write_text("{}")
    with pytest.raises(ValueError, match="holds no statistics of poses"):
        read_statistics(path, DESCRIBES)
    with pytest.raises(FileNotFoundError, match=r"compute_statistics\.py"):
        read_statistics(tmp_path / "none", DESCRIBES)


def compose_training(overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose("compute_statistics", overrides=overrides)


@pytest.fixture
def words(tiny_store: Path, tiny_data: list[str], tmp_path: Path) -> list[str]:
    """A training on a store of the test's own."""
    store = tmp_path / "tiny.h5"
    store.write_bytes(tiny_store.read_bytes())
    few = [
        "normalizer_scenes=24",
        "model/generator/encoder=pointnet2_small",
        "callbacks=no_simulation",
        "model.objective.anchors.reach=0.3",
    ]
    return [f"data.store={store}", *tiny_data[1:], *few, "data.batch_size=4", f"run_dir={tmp_path / 'run'}"]


@pytest.mark.slow
def test_the_command_measures_augmented_batches_in_each_mode(words: list[str], capsys, run_program) -> None:
    """Turned about the vertical, the palm's x axis points anywhere level; the camera's mode is only tilted."""
    words = [*words, "model.generator.representation.anchored=false"]
    camera = [*words, "data.cloud.frame=camera_centric", "data/augment=camera"]
    assert run_program("compute_statistics", *words) == 0
    assert run_program("compute_statistics", *camera) == 0
    said = capsys.readouterr().out
    assert "tabletop: " in said and "camera_centric: " in said and "squeeze_th_ipl" in said
    turned, path = find_statistics(compose_training(words))
    assert path.is_file() and path.parent.name == "tiny.h5.statistics" and path.name.startswith("tabletop-")
    x = turned.numbers["rot6d_0"]
    assert x["low"] < -0.9 and x["high"] > 0.9
    tilted, other = find_statistics(compose_training(camera))
    assert other != path and tilted.describes["augment"]["tilt"]["max_deg"] == 10.0
    assert len(list(path.parent.glob("*.json"))) == 2


@pytest.mark.slow
def test_they_are_measured_once_and_again_for_anything_else(words: list[str], monkeypatch) -> None:
    first, path = find_statistics(compose_training(words))
    written = path.read_text(), path.stat().st_mtime_ns
    # Neither the loading, nor the network behind the anchors, changes what a pose is.
    same = [
        *words,
        "data.batch_size=2",
        "data.loading.workers=1",
        "model.generator.decoder.dim=48",
        "optimizer.lr=1e-2",
    ]
    again, found = find_statistics(compose_training(same))
    assert found == path and again == first and written == (path.read_text(), path.stat().st_mtime_ns)
    for override in (
        *(
            "data.augment.yaw.max_deg=90",
            "data.cloud.num_points=512",
            "seed=1",
            "model.objective.anchors.reach=0.2",
        ),
        *("normalizer_scenes=20", "model.generator.encoder.levels.coarse.centers=32"),
    ):
        other, place = find_statistics(compose_training([*words, override]))
        assert place != path and other.describes != first.describes, override


def test_training_reads_them_and_refuses_those_of_other_data(words: list[str], tmp_path: Path) -> None:
    from sceneleapultra.train_lightning import train

    few = [
        "hardware=cpu",
        "logger=csv",
        "trainer.max_steps=2",
        "model.generator.decoder.depth=1",
    ]
    few += [
        "trainer.limit_val_batches=0",
        "data.loading.workers=0",
        "scheduler.warmup_steps=1",
        "model.generator.decoder.dim=32",
    ]
    statistics, path = find_statistics(compose_training(words))
    trainer = train(compose_training([*words, *few]), [])
    normalizer = trainer.lightning_module.generator.normalizer
    np.testing.assert_allclose(normalizer.mean.numpy(), statistics.mean, rtol=1e-6)
    np.testing.assert_allclose(normalizer.std.numpy(), statistics.scale, rtol=1e-6)
    # The same file under a name that says nothing: what it holds is looked at.
    mine = tmp_path / "mine.json"
    mine.write_text(path.read_text())
    fresh = [f"run_dir={tmp_path / 'second'}", f"statistics={mine}"]
    train(compose_training([*words, *few, *fresh]), [])
    content = json.loads(mine.read_text())
    content["describes"]["data_hash"] = "of another store"
    write_statistics(mine, Statistics(content["describes"], content["count"], content["numbers"]))
    third = [f"run_dir={tmp_path / 'third'}", f"statistics={mine}"]
    with pytest.raises(ValueError, match="describes something else: data_hash"):
        train(compose_training([*words, *few, *third]), [])


def test_where_they_cannot_be_kept_the_way_out_is_named(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "share").write_text(
        "a file where a folder should be, which no user may write to, root included"
    )
    cfg = compose_training([*words, f"statistics={tmp_path / 'share' / 'mine.json'}"])
    with pytest.raises(
        ValueError, match=r"Pose statistics cannot be kept in .*share \(.*\)\. Pass statistics=<a file"
    ):
        find_statistics(cfg)


def test_a_pretrainer_needs_none(words: list[str]) -> None:
    rest = [w for w in words if not w.startswith("model.")]
    cfg = compose_training([*rest, "model=pretrain"])
    with pytest.raises(ValueError, match="measures no statistics"):
        find_statistics(cfg)
    assert statistics_settings(assemble(cfg)[1]) is None


def test_unknown_mode_names_the_nearest(words: list[str], capsys, run_program) -> None:
    assert run_program("compute_statistics", *words, "data.cloud.frame=tabeltop") == 1
    assert "Did you mean 'tabletop'" in capsys.readouterr().err
