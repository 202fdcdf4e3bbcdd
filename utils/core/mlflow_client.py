"""The way to MLflow: its client for a place where runs and models are kept, or a sentence on why there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

NEEDED = {"mlflow-skinny": "mlflow", "sqlalchemy": "sqlalchemy", "alembic": "alembic"}
SQLITE = "sqlite:///"
_SERVERS = ("http://", "https://")
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing is sent but to the place that was named
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # a training does not wait for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def connect(uri: str, *, key: str) -> MlflowClient:
    """Return MLflow's client of a place; a server is asked whether it is there, a file's folder is made.

    Args:
        uri: ``sqlite:///<file>`` or the address of a server.
        key: the setting it comes from, for sentences.

    Raises:
        ValueError: MLflow is not installed, the place is of another kind, or no server answers.
    """
    if missing := [name for name, module in NEEDED.items() if find_spec(module) is None]:
        raise ValueError(
            f"{key}: {', '.join(missing)} not installed. Run: python -m pip install 'sceneleapultra[mlflow]'"
        )
    if not uri.startswith((SQLITE, *_SERVERS)):
        raise ValueError(
            f"{key}={uri}: expected {SQLITE}<file>, for one machine and without a network, or the address of a server "
            "such as http://localhost:5000."
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import logging

    import mlflow.exceptions

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if uri.startswith(SQLITE):
        Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        client.search_experiments(max_results=1)
    except mlflow.exceptions.MlflowException as error:
        raise ValueError(f"{key}={uri}: no MLflow server answers there ({first_line(error)})") from error
    return client


@contextmanager
def answered(uri: str, key: str) -> Iterator[None]:
    """Say in one sentence what MLflow refused.

    Raises:
        ValueError: it did.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise ValueError(f"{key}={uri}: MLflow answers: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return the first sentence of an error of MLflow's, which may be a page long."""
    line = str(error).strip().splitlines()[0]
    return line if len(line) <= 200 else f"{line[:200]}..."


def experiment_of(client: MlflowClient, name: str, uri: str) -> str:
    """Return the id of an experiment, made where it is missing; beside a file of runs lie the runs' own files."""
    from mlflow.exceptions import MlflowException

    if (known := client.get_experiment_by_name(name)) is not None:
        return str(known.experiment_id)
    place = None
    if uri.startswith(SQLITE):
        database = Path(uri.removeprefix(SQLITE)).resolve()
        place = (database.parent / f"{database.stem}-files" / name).as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=place))
    except MlflowException:  # another run made it in this moment
        known = client.get_experiment_by_name(name)
        if known is None:
            raise
        return str(known.experiment_id)
