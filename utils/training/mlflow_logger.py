"""How a run is logged to MLflow: one MLflow run per run folder, without a network if it is a file."""

import argparse
import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from sceneleapultra.utils.core.compare import leaves
from sceneleapultra.utils.core.console import is_first_process
from sceneleapultra.utils.core.files import read_json_object, write_json
from sceneleapultra.utils.core.mlflow_client import answered, connect, experiment_of, first_line
from sceneleapultra.utils.training.run_record import RunRecord

_log = logging.getLogger(__name__)
_KEY = "logger.mlflow.tracking_uri"
_FILES = ("config.yaml", "overrides.yaml", "versions.json", "data.json")  # git.txt may hold a secret
_LONGEST = 6000  # characters of a parameter
_PARAMETERS, _METRICS = 100, 1000  # in one call
_PAUSE_S = 60.0  # after a call that failed


class MlflowLogger(Logger):
    """Log metrics, settings, lineage and pictures; a run that is continued in its folder continues its MLflow run.

    No step is logged twice: what a killed run logged after its last checkpoint stays as it is. A server that does not
    answer stops no training: what it lacks is sent when it answers again, or when the run is continued.

    Args:
        tracking_uri: ``sqlite:///<file>``, or the address of a server.
        experiment: which runs it stands among.
        name: of the run.
        run_dir: its folder, whose ``mlflow.json`` says which MLflow run it is.
    """

    def __init__(self, *, tracking_uri: str, experiment: str, name: str, run_dir: str) -> None:
        super().__init__()
        self._uri, self._experiment, self._title, self._folder = tracking_uri, experiment, name, Path(run_dir)
        self._run = ""
        self._last: dict[str, int] = {}  # step up to which each metric is logged
        self._unsent: list[Any] = []
        self._silent_until = 0.0
        self._client = connect(tracking_uri, key=_KEY) if is_first_process() else None

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self._experiment

    @property
    def version(self) -> str:
        """Id of the MLflow run; "" before the first number."""
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | argparse.Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the settings are those of the run folder, logged with the first number."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log what was not logged at this step or a later one."""
        assert step is not None, "Lightning passes the global step"
        if not self._run:
            self._open(step)
        self._queue(metrics, step)
        self._send()

    @rank_zero_only
    def log_picture(self, name: str, picture: UInt8[np.ndarray, "h w 3"], step: int) -> None:
        """Log a picture of this step."""
        if not self._run:
            self._open(step)
        from mlflow.exceptions import MlflowException

        try:
            self._known.log_image(self._run, picture, key=name, step=step)
        except MlflowException as error:
            _log.warning("%s is not logged: MLflow at %s answers: %s", name, self._uri, first_line(error))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what is left, and say how the run ended."""
        if not self._run:
            return
        from mlflow.exceptions import MlflowException

        self._silent_until = 0.0
        self._send()
        with contextlib.suppress(MlflowException):  # what is unsent says why
            self._known.set_terminated(self._run, "FINISHED" if status == "success" else "FAILED")
        if self._unsent:
            _log.warning(
                f"{len(self._unsent)} numbers are not in MLflow ({self._uri}), but in {self._folder}/metrics.csv. They "
                "are sent when the run is continued."
            )

    @property
    def _known(self) -> Any:
        assert self._client is not None, "the first process alone logs"
        return self._client

    def _open(self, step: int) -> None:
        """Begin the MLflow run, or continue the one that the folder names."""
        place, record = self._folder / "mlflow.json", RunRecord.of(self._folder)
        lineage = {f"sceneleapultra.{key}": value for key, value in record.lineage().items()}
        with answered(self._uri, _KEY):
            if place.is_file():
                known = self._continued(place)
            else:
                experiment = experiment_of(self._known, self._experiment, self._uri)
                self._run = self._known.create_run(experiment, run_name=self._title).info.run_id
                known = {}
                write_json(place, {"tracking_uri": self._uri, "run_id": self._run}, indent=2)
            from mlflow.entities import Param, RunTag

            settings = {key: str(value)[:_LONGEST] for key, value in leaves(record.config).items()}
            new = [Param(key, value) for key, value in settings.items() if key not in known]
            for i in range(0, len(new), _PARAMETERS):
                self._known.log_batch(self._run, params=new[i : i + _PARAMETERS])
            changed = [
                f"{key}: {known[key]} -> {value}"
                for key, value in settings.items()
                if known.get(key, value) != value  # a parameter cannot be changed
            ]
            tags = {**lineage, **({"sceneleapultra.changed": "; ".join(changed)[:5000]} if changed else {})}
            self._known.log_batch(self._run, tags=[RunTag(*tag) for tag in tags.items()])
            for name in _FILES:
                if (path := self._folder / name).is_file():
                    self._known.log_artifact(self._run, str(path), "run")
        for name, points in record.curves().items():
            for logged, value in points:
                if logged < step:  # what a server that was gone did not get
                    self._queue({name: value}, logged)

    def _continued(self, place: Path) -> dict[str, str]:
        """Continue the MLflow run of the folder; return its parameters.

        Raises:
            ValueError: it is at another place, or gone.
        """
        remedy = f"Remove {place} to begin another MLflow run."
        saved = read_json_object(place, remedy)
        if saved.get("tracking_uri") != self._uri:
            raise ValueError(
                f"{_KEY}={self._uri}: this run is logged to {saved.get('tracking_uri')}. Pass that one. {remedy}"
            )
        try:
            self._run = str(saved["run_id"])
            run = self._known.get_run(self._run)
        except self._refused() as error:
            raise ValueError(
                f"{self._uri} has no run {saved['run_id']} ({first_line(error)}). {remedy}"
            ) from error
        for name in run.data.metrics:
            self._last[name] = max(one.step for one in self._known.get_metric_history(self._run, name))
        self._known.update_run(self._run, status="RUNNING")
        return dict(run.data.params)

    @staticmethod
    def _refused() -> type[Exception]:
        from mlflow.exceptions import MlflowException

        return MlflowException

    def _queue(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        for name, value in metrics.items():
            if step > self._last.get(name, -1):
                self._unsent.append(Metric(name, float(value), now, step))
                self._last[name] = step

    def _send(self) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            while self._unsent:
                self._known.log_batch(self._run, metrics=self._unsent[:_METRICS])
                del self._unsent[:_METRICS]
        except self._refused() as error:
            if not self._silent_until:
                _log.warning(
                    "MLflow at %s does not answer (%s); what it lacks is kept.", self._uri, first_line(error)
                )
            self._silent_until = time.monotonic() + _PAUSE_S
