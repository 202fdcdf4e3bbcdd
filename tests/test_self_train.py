"""Does a round of self-training run its four programs, and go on where it was stopped?"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from factories.programs import Server, Starter
from sceneleapultra.scripts.self_train import DONE, STAGES, Round, self_train
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.files import write_json

SMALL = [
    "generate.scenes=8",
    "generate.views=1",
    "propose.per_object=1",
    "propose.candidates=1",
    *("propose.sampling.rank=none", "propose.sampling.guidance=none", "propose.sampling.steps=2"),
    *("train.trainer.max_steps=2", "train.trainer.val_check_interval=2", "+train.scheduler.warmup_steps=1"),
    "+train.data.batch_size=2",
    "+train.data.loading.workers=0",
    *("test.sampling.guidance=none", "+test.sampling.steps=2"),
    "test.max_items=1",
    "+test.samples_per_item=1",
    "+test.top=null",
    "+test.splits=[test]",
]


def words_of(capsys: pytest.CaptureFixture[str], *overrides: str) -> dict[str, str]:
    """Return the command of each stage."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        self_train(compose("self_train", overrides=[*overrides, "dry_run=true"]))
    lines = capsys.readouterr().out.splitlines()
    return {
        stage: next(line for line in lines if line.startswith(f"sceneleap {verb} "))
        for stage, verb in STAGES.items()
    }


def finished(folder: Path, *stores: str) -> Path:
    """Make what a finished round leaves, as far as the next one reads it."""
    this = Round(folder)
    this.checkpoint.parent.mkdir(parents=True)
    this.checkpoint.write_bytes(b"weights")
    write_json(folder / DONE, {"stages": {"train": []}, "stores": [*stores, str(this.grasps)]})
    return folder


def test_the_first_round_starts_from_a_shipped_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of(capsys, f"folder={tmp_path / 'one'}", "seed=5", "+train.optimizer.lr=1e-4")
    assert "grasps.max_attempts=0" in words["generate"] and "seed=5" in words["generate"]
    assert "model_zoo/leap_table/model.ckpt" in words["propose"]
    assert "protocol=scene-lift" in words["propose"]
    assert "optimizer.lr=0.0001" in words["train"] and f"{tmp_path}/one/own.h5" in words["train"]
    assert (
        f"checkpoint={tmp_path}/one/run/checkpoints/last.ckpt" in words["test"]
        and "baselines=null" in words["test"]
    )
    assert not (tmp_path / "one").exists(), "a dry run writes nothing"


def test_the_next_round_learns_from_all_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = finished(tmp_path / "two", "first.h5")
    words = words_of(capsys, f"folder={tmp_path / 'three'}", f"after={before}", "also=[more.h5,first.h5]")
    for stage in ("propose", "train"):
        assert f"{before}/run/checkpoints/last.ckpt" in words[stage]
    stores = [words["train"].index(name) for name in ("first.h5", "two/own.h5", "more.h5", "three/own.h5")]
    assert stores == sorted(stores) and words["train"].count("first.h5") == 1


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError, match="no round was trained to its end there"):
        words_of(capsys, f"folder={tmp_path / 'one'}", f"after={tmp_path / 'none'}")
    with pytest.raises(
        ValueError, match=r"train.init_from is decided by the round \(folder, checkpoint, after, seed\)"
    ):
        words_of(capsys, f"folder={tmp_path / 'one'}", "+train.init_from=x")
    with pytest.raises(FileNotFoundError, match="No checkpoint at"):
        words_of(capsys, f"folder={tmp_path / 'one'}", "checkpoint=missing.ckpt")
    write_json(finished(tmp_path / "one") / DONE, {"stages": {"generate": ["scenes=3"]}, "stores": []})
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("self_train", overrides=[f"folder={tmp_path / 'one'}"])
    with pytest.raises(ValueError, match=r"the stage generate is done, with other settings \(.*scenes=3"):
        self_train(cfg)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    server = Server.begin()
    yield Starter(server, tmp_path)
    server.end()


@pytest.mark.faults
def test_a_round_that_is_stopped_and_killed_goes_on(start: Starter) -> None:
    folder = start.folder / "round"
    words = [f"folder={folder}", *SMALL]
    program = start("scripts/self_train", *words)
    assert program.until(lambda: "stage 2 of 4" in program.said() and len(program.others()) > 0)
    assert program.stop(signal.SIGTERM) == 143
    assert "stopped by SIGTERM in the stage propose; the same command continues" in program.said()
    program = start("scripts/self_train", *words)
    assert program.until(lambda: "stage 3 of 4" in program.said() and len(program.others()) > 0)
    assert program.stop(signal.SIGKILL) == -9  # and its own program ends with it
    said = start("scripts/self_train", *words).finish()
    assert "stage 1 of 4" not in said and "stage 2 of 4" not in said
    assert set(Round(folder).done()) == set(STAGES)
    assert (folder / "test" / "results.json").is_file()
    said = start("scripts/self_train", *words).finish()
    assert "stage" not in said
