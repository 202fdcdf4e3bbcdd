"""What a run's folder says of the run: its configuration, data, code and curves."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sceneleapultra.utils.core.config import short_hash
from sceneleapultra.utils.core.files import read_json_object
from sceneleapultra.utils.core.plain_data import read_yaml
from sceneleapultra.utils.training.run_folder import code_state, without_home

# Settings that say where a run lies and who reads of it, not what it learns.
_BESIDE = ("run_dir", "name", "paths", "logger")
_REMEDY = "Remove it, or name another run."
UNKNOWN = "unknown"


@dataclass(frozen=True)
class RunRecord:
    """A training's folder."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> "RunRecord":
        """Return the record of a run.

        Raises:
            FileNotFoundError: no run was written there.
        """
        if not (folder / "config.yaml").is_file():
            raise FileNotFoundError(
                f"{folder} is no folder of a run: it has no config.yaml. Name the run_dir of a training."
            )
        return cls(folder)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration, as it was resolved, but for the folder it lies in."""
        cfg = without_home(OmegaConf.create(read_yaml(self.folder / "config.yaml")))
        plain = OmegaConf.to_container(cfg)
        assert isinstance(plain, dict)
        kept = {str(key): value for key, value in plain.items() if key not in _BESIDE}
        if "callbacks" in kept:  # a sweep's trial is the run that its settings make without a sweep
            kept["callbacks"] = {key: value for key, value in kept["callbacks"].items() if key != "prune"}
        return kept

    @property
    def config_hash(self) -> str:
        """Equal for runs of equal settings, wherever they lie."""
        return short_hash(self.config)

    @property
    def data_hash(self) -> str:
        """Content hash of the store that was trained on."""
        path = self.folder / "data.json"
        return str(read_json_object(path, _REMEDY)["data_hash"]) if path.is_file() else UNKNOWN

    @property
    def code(self) -> str:
        """Commit, and a hash of what was not committed."""
        path = self.folder / "git.txt"
        if not path.is_file():
            return UNKNOWN
        text = path.read_bytes().decode(errors="surrogateescape")
        commit, _, difference = text.partition("\n")
        return code_state(commit, difference.removesuffix("\n"))

    def lineage(self) -> dict[str, str]:
        """Return what the run's weights come from, by name."""
        return {"config_hash": self.config_hash, "data_hash": self.data_hash, "code": self.code}

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Return (step, value) of every logged number, by its name."""
        path = self.folder / "metrics.csv"
        found: dict[str, list[tuple[int, float]]] = {}
        if not path.is_file():
            return found
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for key, value in row.items():
                    if key != "step" and value:
                        found.setdefault(key, []).append((int(row["step"]), float(value)))
        return found
