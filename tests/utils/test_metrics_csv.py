"""metrics.csv is continued by a resumed run, and repeated steps are replaced."""

import csv
from pathlib import Path

from sceneleapultra.utils.training.metrics_csv import MetricsCsv


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_of_one_step_are_one_row_and_new_columns_appear(tmp_path: Path) -> None:
    logger = MetricsCsv(path=str(tmp_path / "metrics.csv"))
    logger.log_metrics({"train/loss": 3.0}, step=0)
    logger.log_metrics({"val/loss": 4.0}, step=0)
    logger.log_metrics({"train/loss": 2.0}, step=5)
    logger.finalize("success")
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "0", "train/loss": "3.0", "val/loss": "4.0"},
        {"step": "5", "train/loss": "2.0", "val/loss": ""},
    ]


def test_resume_keeps_earlier_rows_and_replaces_repeated_ones(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    killed = MetricsCsv(path=str(path))
    for step in (0, 10, 20):
        killed.log_metrics({"train/loss": float(step)}, step=step)
    killed.finalize("failed")
    resumed = MetricsCsv(path=str(path))
    resumed.log_metrics({"train/loss": -1.0}, step=10)
    resumed.finalize("success")
    assert [(r["step"], r["train/loss"]) for r in rows(path)] == [("0", "0.0"), ("10", "-1.0")]
