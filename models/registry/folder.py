"""A registry in a plain folder: ``<name>/<number>/`` with checkpoint and facts, ``<name>/aliases.json``."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sceneleapultra.models.bundle.manifest import digest
from sceneleapultra.models.registry.base import ModelVersion, Registry
from sceneleapultra.utils.core.files import flush, read_json_object, write_json
from sceneleapultra.utils.core.locks import owned_lock

_FACTS, _ALIASES = "version.json", "aliases.json"
_REMEDY = "Restore it from a copy; the checkpoint beside it is not touched."


class FolderRegistry(Registry):
    """Versions as folders; each is there completely or not at all.

    Args:
        folder: of the registry; made when the first model is registered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, str(folder)

    def names(self) -> list[str]:
        """List the models."""
        return sorted({path.parent.parent.name for path in self.folder.glob(f"*/*/{_FACTS}")})

    def versions(self, name: str) -> list[ModelVersion]:
        """List the versions of a model, oldest first."""
        aliases = self._aliases(name)
        found = []
        for number in self._numbers(name):
            facts = read_json_object(self._at(name, number) / _FACTS, _REMEDY)
            evaluations = tuple(facts.pop("evaluations"))
            named = tuple(alias for alias, n in aliases.items() if n == number)
            found.append(
                ModelVersion(name=name, number=number, evaluations=evaluations, aliases=named, **facts)
            )
        return found

    def file(self, version: ModelVersion) -> Path:
        """Return the checkpoint of a version.

        Raises:
            ValueError: it is not what was registered.
        """
        path = self._at(version.name, version.number) / "model.ckpt"
        check_unchanged(path, version)
        return path

    def _add(self, name: str, files: dict[str, Path], facts: dict[str, Any]) -> int:
        with self._owned(name):
            number = max(self._numbers(name), default=0) + 1
            folder = self._at(name, number)
            part = folder.with_name(f".{os.getpid()}.tmp.{number}")
            part.mkdir()
            try:
                for kept, path in files.items():
                    shutil.copyfile(path, part / kept)
                    flush(part / kept)
                write_json(part / _FACTS, {**facts, "evaluations": []}, indent=2)
                part.rename(folder)
                flush(folder.parent)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return number

    def _add_evaluation(self, version: ModelVersion, record: dict[str, Any]) -> None:
        with self._owned(version.name):
            path = self._at(version.name, version.number) / _FACTS
            facts = read_json_object(path, _REMEDY)
            write_json(path, {**facts, "evaluations": [*facts["evaluations"], record]}, indent=2)

    def _set_alias(self, version: ModelVersion, alias: str) -> None:
        with self._owned(version.name):
            aliases = {**self._aliases(version.name), alias: version.number}
            write_json(self.folder / version.name / _ALIASES, aliases, indent=2)

    def _at(self, name: str, number: int) -> Path:
        return self.folder / name / str(number)

    def _numbers(self, name: str) -> list[int]:
        folders = (path.parent.name for path in (self.folder / name).glob(f"*/{_FACTS}"))
        return sorted(int(number) for number in folders if number.isdigit())

    def _aliases(self, name: str) -> dict[str, int]:
        path = self.folder / name / _ALIASES
        return read_json_object(path, "Remove it, and set the aliases again.") if path.is_file() else {}

    @contextmanager
    def _owned(self, name: str) -> Iterator[None]:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        with owned_lock(folder / "lock", doing="changing the registry", wait=True):
            yield


def check_unchanged(path: Path, version: ModelVersion) -> None:
    """Make sure that a file is the one that was registered.

    Raises:
        FileNotFoundError: it is gone.
        ValueError: it is another one.
    """
    what = f"version {version.number} of {version.name}"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the checkpoint of {what} is gone. Restore it, or register it again."
        )
    if digest(path) != version.checkpoint_hash:
        raise ValueError(
            f"{path} is not the checkpoint that was registered as {what} (SHA-256 "
            f"{version.checkpoint_hash[:16]}). Restore it, or register it under another version."
        )
