"""Does a picture arrive where pictures are kept, and is none drawn for nobody?"""

from pathlib import Path

import numpy as np
import pytest
from pytorch_lightning.loggers import TensorBoardLogger

from sceneleapultra.utils.training.metrics_csv import MetricsCsv
from sceneleapultra.utils.training.mlflow_logger import MlflowLogger
from sceneleapultra.utils.training.pictures import log_picture
from sceneleapultra.utils.training.wandb_logger import wandb_logger

PICTURE = np.zeros((6, 4, 3), np.uint8) + np.array([250, 10, 10], np.uint8)


def test_tensorboard_shows_it(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="tensorboard")
    log_picture([MetricsCsv(path=str(tmp_path / "metrics.csv")), logger], "val/grasps", lambda: PICTURE, 7)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    (found,) = events.Images("val/grasps")
    assert (found.step, found.width, found.height) == (7, 4, 6)


def test_mlflow_shows_it(mlflow_file: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"run_dir: {tmp_path}\n")
    logger = MlflowLogger(tracking_uri=mlflow_file, experiment="pictures", name="mine", run_dir=str(tmp_path))
    log_picture([logger], "val/grasps", lambda: PICTURE, 7)
    names = [file.path for file in logger._known.list_artifacts(logger.version, "images")]
    assert names and all("+step+7+" in name for name in names)


@pytest.mark.slow
def test_wandb_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    pytest.importorskip("wandb").finish()  # a run that another test began
    logger = wandb_logger(project="tests", name="mine", save_dir=str(tmp_path), offline=True)
    log_picture([logger], "val/grasps", lambda: PICTURE, 7)
    logger.experiment.finish()
    assert list(tmp_path.rglob("media/images/val/*.png"))


def test_nothing_is_drawn_for_nobody(tmp_path: Path) -> None:
    def draw() -> np.ndarray:
        raise AssertionError("drawn")

    log_picture([MetricsCsv(path=str(tmp_path / "metrics.csv"))], "val/grasps", draw, 0)
