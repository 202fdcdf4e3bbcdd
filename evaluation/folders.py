"""Where a test writes: a folder of its own, in which the same command continues it when it was cut off."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.columns import Column
from sceneleapultra.utils.core.config import load_group
from sceneleapultra.utils.core.files import write_atomically
from sceneleapultra.utils.core.npz import read_npz
from sceneleapultra.utils.records import Grasps
from sceneleapultra.utils.verdicts import VerdictTable

_log = logging.getLogger(__name__)

RESULTS = "results.json"  # written last: a test that has it is done
METHODS = "methods.npz"  # grasps of the methods beside the model, by their number in the results


def home_of(checkpoint: Path) -> Path:
    """Return the folder that holds tests and tuned temperatures of a checkpoint.

    It is the folder of its run; for one that lies in none, as shipped models, ``<paths.runs>/<its name>``.
    """
    run_dir = run_folder(checkpoint)
    if (run_dir / "config.yaml").is_file():
        return run_dir
    name = run_dir.resolve().name if checkpoint.stem in ("model", "last", "best") else checkpoint.stem
    return Path(load_group("paths", "default").runs) / name


def run_folder(checkpoint: Path) -> Path:
    """Return the folder of the run that wrote a checkpoint."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def folder_of_test(home: Path, settings: dict[str, Any], now: datetime) -> Path:
    """Return the folder of a test: that of the same test where it was cut off, else ``tests/<date>-<hash>``.

    Args:
        home: where tests of the checkpoint lie.
        settings: everything the results depend on, as plain containers.
        now: names a new folder.
    """
    key = short_hash(settings)
    begun = [path for path in (home / "tests").glob(f"*-{key}") if not (path / RESULTS).is_file()]
    return max(begun, default=home / "tests" / f"{now:%Y-%m-%d_%H-%M-%S}-{key}")


def short_hash(settings: Any) -> str:
    """Name settings by eight characters."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


class Parts:
    """What a test has evaluated so far: one file for each method and split, read again when the test is repeated.

    Args:
        folder: of this test alone, so that what lies there was made under the same settings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def once(self, name: str, evaluate: Callable[[], GraspResults]) -> GraspResults:
        """Return the part of this name, evaluated now if it is not there."""
        path = self.folder / f"{short_hash(name)}.npz"
        if path.is_file():
            try:
                return _read(path)
            except ValueError as error:
                _log.warning("%s %s is evaluated again.", error, name)
        results = evaluate()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: _write(temporary, results))
        return results

    def remove(self) -> None:
        """Remove the files: the test is done."""
        for path in self.folder.glob("*.npz"):
            path.unlink()
        if self.folder.is_dir():
            self.folder.rmdir()


def _write(path: Path, results: GraspResults) -> None:
    table = results.table
    facts = {
        "method": results.method,
        "privileged_inputs": results.privileged_inputs,
        "role": results.role.value,
        "split": results.split,
        "protocol": table.protocol,
        "protocol_hash": table.protocol_hash,
        "columns": [
            asdict(column) for column in table.columns.values()
        ],  # a plugin's are declared nowhere else
    }
    columns = {f"table/{name}": np.asarray(array) for name, array in table.values.items()}
    texts = {key: array.astype(str) for key, array in columns.items() if array.dtype == object}
    known = {name: array for name, array in vars(results.grasps).items() if array is not None}
    grasps = {f"grasps/{name}": array for name, array in known.items()}
    with path.open("wb") as file:
        np.savez(file, facts=json.dumps(facts), **(columns | texts | grasps))


def _read(path: Path) -> GraspResults:
    part = read_npz(path)
    facts = json.loads(str(part["facts"]))
    values: dict[str, dict[str, np.ndarray]] = {"table": {}, "grasps": {}}
    for key, array in part.items():
        group, _, name = key.partition("/")
        if name:
            values[group][name] = array
    columns = [
        Column(**{**entry, "row": tuple(entry["row"]), "reductions": tuple(entry["reductions"])})
        for entry in facts["columns"]
    ]
    table = VerdictTable.of(facts["protocol"], facts["protocol_hash"], values["table"], columns)
    kept = {key: facts[key] for key in ("method", "privileged_inputs", "split")}
    return GraspResults(**kept, role=Role(facts["role"]), table=table, grasps=Grasps(**values["grasps"]))
