"""Where scalars always go: one metrics.csv per run, readable without an account, continued when the run is resumed."""

import csv
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class MetricsCsv(Logger):
    """Append one row per logging step; rows of steps that are repeated after a resume are replaced.

    Lightning's own CSVLogger deletes the file when a run is resumed into its folder.
    """

    def __init__(self, *, path: str) -> None:
        super().__init__()
        self._path = Path(path)
        self._rows: list[dict[str, Any]] | None = None
        self._written = 0.0

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Nothing: the run folder is the version."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder holds the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row, or complete the row of the same step, and write the file."""
        assert step is not None, "Lightning passes the global step"
        if self._rows is None:
            self._rows = [row for row in self._read() if int(row["step"]) <= step]
        if not self._rows or int(self._rows[-1]["step"]) != step:
            self._rows.append({"step": step})
        self._rows[-1].update({key: float(value) for key, value in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write the file, at most once a second: Lightning asks after every row."""
        if time.monotonic() - self._written > 1:
            self._write()
            self._written = time.monotonic()

    @rank_zero_only
    def write(self) -> None:
        """Write the file now: a checkpoint is about to be written."""
        self._write()

    def _write(self) -> None:
        # Whole and renamed, so that a reader never meets half a row.
        if not (rows := self._rows):
            return
        columns = ["step", *sorted({key for row in rows for key in row} - {"step"})]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{os.getpid()}.tmp.{self._path.name}")
        with part.open("w", newline="") as file:  # not synced: it is written every second
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        part.replace(self._path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self._write()

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="") as file:
            return [{key: value for key, value in row.items() if value != ""} for row in csv.DictReader(file)]
