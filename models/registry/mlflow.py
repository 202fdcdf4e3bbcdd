"""A registry kept by MLflow, in a file or on a server: the same rules, seen in MLflow's own pages."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sceneleapultra import __version__
from sceneleapultra.models.registry.base import ModelVersion, Registry
from sceneleapultra.models.registry.folder import check_unchanged
from sceneleapultra.utils.core.config import load_group
from sceneleapultra.utils.core.files import read_json_object, write_text
from sceneleapultra.utils.core.mlflow_client import answered, connect, experiment_of

_TAG = "sceneleapultra."
_EVALUATION = f"{_TAG}evaluation."
_KEY = "paths.registry"
_FOLDER = "model"  # of a version's files among those of its MLflow run


class MlflowRegistry(Registry):
    """Registered models of MLflow: facts are tags of versions, files are those of a run.

    Args:
        place: ``sqlite:///<file>`` or the address of a server.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._client = connect(place, key=_KEY)

    def names(self) -> list[str]:
        """List the models."""
        with answered(self.place, _KEY):
            return sorted(model.name for model in self._client.search_registered_models())

    def versions(self, name: str) -> list[ModelVersion]:
        """List the versions of a model that this project registered, oldest first."""
        if name not in self.names():
            return []
        with answered(self.place, _KEY):
            aliases = self._client.get_registered_model(name).aliases
            listed = self._client.search_model_versions(f"name = '{name}'")
        found = [_version(one, aliases) for one in listed if f"{_TAG}checkpoint_hash" in one.tags]
        return sorted(found, key=lambda version: version.number)

    def file(self, version: ModelVersion) -> Path:
        """Return the checkpoint of a version; it is fetched once, into ``<paths.runs>/fetched``.

        Raises:
            ValueError: it is not what was registered.
        """
        with answered(self.place, _KEY):
            run = self._client.get_model_version(version.name, str(version.number)).run_id
            fetched = Path(load_group("paths", "default").runs) / "fetched" / version.checkpoint_hash[:16]
            path = fetched / _FOLDER / "model.ckpt"
            if not path.is_file():
                fetched.mkdir(parents=True, exist_ok=True)
                self._client.download_artifacts(str(run), _FOLDER, str(fetched))
        check_unchanged(path, version)
        return path

    def _add(self, name: str, files: dict[str, Path], facts: dict[str, Any]) -> int:
        tags = {
            f"{_TAG}{key}": value if isinstance(value, str) else json.dumps(value)
            for key, value in facts.items()
        }
        with answered(self.place, _KEY), tempfile.TemporaryDirectory() as folder:
            experiment = experiment_of(self._client, "registry", self.place)
            info = self._client.create_run(experiment, run_name=name, tags=self._origin(facts)).info
            run, source = info.run_id, f"{info.artifact_uri}/{_FOLDER}"
            part = Path(folder) / _FOLDER
            part.mkdir()
            about = _mlmodel(run, facts["signature"], facts["created"])
            write_text(part / "MLmodel", OmegaConf.to_yaml(OmegaConf.create(about)))
            for kept, path in files.items():
                shutil.copyfile(path, part / kept)
            self._client.log_artifacts(run, str(part), _FOLDER)
            self._client.set_terminated(run)
            if name not in self.names():
                self._client.create_registered_model(name)
            made = self._client.create_model_version(name, source, run, tags)
        return int(made.version)

    def _add_evaluation(self, version: ModelVersion, record: dict[str, Any]) -> None:
        with answered(self.place, _KEY):
            key, text = f"{_EVALUATION}{record['digest'][:8]}", json.dumps(record)
            self._client.set_model_version_tag(version.name, str(version.number), key, text)

    def _set_alias(self, version: ModelVersion, alias: str) -> None:
        with answered(self.place, _KEY):
            self._client.set_registered_model_alias(version.name, alias, str(version.number))

    def _origin(self, facts: dict[str, Any]) -> dict[str, str]:
        """Return the tag that names the MLflow run of the training, where it has one here."""
        log = Path(facts["lineage"]["run"]) / "mlflow.json"
        if not log.is_file():
            return {}
        saved = read_json_object(log, "Remove it.")
        return {f"{_TAG}trained_by": saved["run_id"]} if saved["tracking_uri"] == self.place else {}


def _version(found: Any, aliases: dict[str, Any]) -> ModelVersion:
    tags = {key.removeprefix(_TAG): value for key, value in found.tags.items() if key.startswith(_TAG)}
    prefix = _EVALUATION.removeprefix(_TAG)
    return ModelVersion(
        name=found.name,
        number=int(found.version),
        checkpoint_hash=tags["checkpoint_hash"],
        created=tags["created"],
        lineage=json.loads(tags["lineage"]),
        signature=json.loads(tags["signature"]),
        evaluations=tuple(json.loads(tags[key]) for key in sorted(tags) if key.startswith(prefix)),
        aliases=tuple(
            sorted(alias for alias, number in aliases.items() if int(number) == int(found.version))
        ),
    )


def _mlmodel(run: str, signature: dict[str, Any], created: str) -> dict[str, Any]:
    """Return what MLflow's own file about a model says; its own writer needs pandas."""

    def schema(entries: dict[str, Any]) -> str:
        shapes = {name: [n if isinstance(n, int) else -1 for n in e["shape"]] for name, e in entries.items()}
        return json.dumps(
            [
                {
                    "name": name,
                    "type": "tensor",
                    "tensor-spec": {"dtype": entry["dtype"], "shape": shapes[name]},
                }
                for name, entry in entries.items()
            ]
        )

    return {
        "artifact_path": _FOLDER,
        "flavors": {"sceneleapultra": {"checkpoint": "model.ckpt", "version": __version__}},
        "run_id": run,
        "signature": {kind: schema(signature[kind]) for kind in ("inputs", "outputs")},
        "utc_time_created": created,
    }
