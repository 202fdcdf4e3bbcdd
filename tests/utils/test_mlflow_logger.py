"""Does a run folder have one MLflow run, whatever stops the run, and no step twice?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sceneleapultra.utils.training.mlflow_logger import MlflowLogger
from sceneleapultra.utils.training.run_record import RunRecord

Open = Callable[..., MlflowLogger]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(f"run_dir: {run}\noptimizer: {{lr: 0.1}}\ntrainer: {{max_steps: 3}}\n")
    (run / "data.json").write_text(json.dumps({"frame": "world", "data_hash": "abc"}))
    (run / "git.txt").write_text("0123abcd\ndiff of mine: secret\n")
    return run


@pytest.fixture
def opened(mlflow_file: str, folder: Path) -> Open:
    def begin(uri: str = mlflow_file) -> MlflowLogger:
        return MlflowLogger(tracking_uri=uri, experiment="tests", name="mine", run_dir=str(folder))

    return begin


def logged(logger: MlflowLogger, metric: str = "val/loss") -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in logger._known.get_metric_history(logger.version, metric)]


def test_a_continued_run_is_one_run_without_a_step_twice(opened: Open, folder: Path) -> None:
    first = opened()
    for step in range(4):
        first.log_metrics({"val/loss": float(step)}, step)
    again = opened()  # the first was killed; the last checkpoint was at step 2
    for step in range(2, 6):
        again.log_metrics({"val/loss": float(step)}, step)
    again.finalize("success")
    assert first.version == again.version != ""
    assert logged(again) == [(step, float(step)) for step in range(6)]
    assert again._known.get_run(again.version).info.status == "FINISHED"


def test_settings_lineage_and_files_are_there_but_no_uncommitted_code(opened: Open, folder: Path) -> None:
    logger = opened()
    logger.log_metrics({"a": 1.0}, 0)
    (folder / "config.yaml").write_text(
        (folder / "config.yaml").read_text().replace("max_steps: 3", "max_steps: 9")
    )
    logger = opened()
    logger.log_metrics({"a": 2.0}, 1)
    data = logger._known.get_run(logger.version).data
    assert data.params == {"optimizer.lr": "0.1", "trainer.max_steps": "3"}
    assert data.tags["sceneleapultra.changed"] == "trainer.max_steps: 3 -> 9"
    assert data.tags["sceneleapultra.data_hash"] == "abc"
    assert data.tags["sceneleapultra.config_hash"] == RunRecord(folder).config_hash
    assert data.tags["sceneleapultra.code"].startswith("0123abcd + uncommitted changes")
    files = logger._known.list_artifacts(logger.version, "run")
    assert {Path(file.path).name for file in files} == {"config.yaml", "data.json"}


def test_what_a_server_missed_is_sent_when_it_answers(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.exceptions import MlflowException

    logger = opened()
    logger.log_metrics({"val/loss": 0.0}, 0)
    there = logger._known.log_batch

    def gone(*args: Any, **kwargs: Any) -> None:
        raise MlflowException("the server is gone")

    monkeypatch.setattr(logger._known, "log_batch", gone)
    for step in (1, 2):
        logger.log_metrics({"val/loss": 1.0}, step)
    assert caplog.text.count("the server is gone") == 1
    monkeypatch.setattr(logger._known, "log_batch", there)
    logger.finalize("success")
    assert [step for step, _ in logged(logger)] == [0, 1, 2]


def test_what_was_never_sent_comes_from_metrics_csv_when_the_run_is_continued(
    opened: Open, folder: Path
) -> None:
    opened().log_metrics({"val/loss": 0.0}, 0)
    (folder / "metrics.csv").write_text("step,val/loss\n0,0.0\n1,5.0\n2,6.0\n3,7.0\n")
    again = opened()
    again.log_metrics({"val/loss": 8.0}, 3)
    assert logged(again) == [(0, 0.0), (1, 5.0), (2, 6.0), (3, 8.0)]


def test_pictures_are_kept_by_step(opened: Open) -> None:
    logger = opened()
    logger.log_picture("val/grasps", np.zeros((4, 4, 3), np.uint8), 7)
    names = [file.path for file in logger._known.list_artifacts(logger.version, "images")]
    assert names and all("+step+7+" in name for name in names)


def test_another_place_or_a_run_that_is_gone_is_answered(
    opened: Open, folder: Path, mlflow_file: str
) -> None:
    opened().log_metrics({"a": 1.0}, 0)
    place = folder / "mlflow.json"
    saved = json.loads(place.read_text())
    place.write_text(json.dumps({**saved, "tracking_uri": "http://elsewhere"}))
    with pytest.raises(ValueError, match=r"this run is logged to http://elsewhere. Pass that one"):
        opened().log_metrics({"a": 1.0}, 1)
    place.write_text(json.dumps({**saved, "run_id": "0" * 32}))
    with pytest.raises(ValueError, match=r"has no run 0{32}.*to begin another MLflow run"):
        opened().log_metrics({"a": 1.0}, 1)
    with pytest.raises(ValueError, match=r"logger\.mlflow\.tracking_uri=here: expected sqlite"):
        opened("here")
