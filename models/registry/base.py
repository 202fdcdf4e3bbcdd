"""What a registry of models does, wherever it keeps them; the rules are here, the keeping is its back end's."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sceneleapultra.models.bundle.manifest import digest, is_bundle
from sceneleapultra.utils.core.names import unknown_name

CHAMPION = "champion"
HASH_DIGITS = 16  # of a checkpoint's SHA-256, by which tests name it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ALIAS = re.compile(r"(?!latest$|v\d+$)[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class ModelVersion:
    """One checkpoint under a name.

    Attributes:
        name: of the model.
        number: of the version, from 1.
        evaluations: records of its tests.
        aliases: that point at it.
        lineage: what it was made from: hashes of configuration and data, the code's commit, the run's folder.
        signature: what it reads and returns, for which hand.
        checkpoint_hash: SHA-256 of the file.
        created: when it was registered, UTC.
    """

    name: str
    number: int
    evaluations: tuple[dict[str, Any], ...]
    aliases: tuple[str, ...]
    lineage: dict[str, str]
    signature: dict[str, Any]
    checkpoint_hash: str
    created: str

    @property
    def tested(self) -> bool:
        """Whether a record of a test of this very file is there."""
        return any(self.fits(record) for record in self.evaluations)

    def fits(self, record: dict[str, Any]) -> bool:
        """Say whether a test was of this version's file."""
        return bool(record["checkpoint_hash"] == self.checkpoint_hash[:HASH_DIGITS])


class Registry(ABC):
    """Names, versions and aliases."""

    place: str

    @abstractmethod
    def names(self) -> list[str]:
        """List the models."""

    @abstractmethod
    def versions(self, name: str) -> list[ModelVersion]:
        """List the versions of a model, oldest first; none of an unknown one."""

    @abstractmethod
    def file(self, version: ModelVersion) -> Path:
        """Return where the checkpoint of a version lies on this machine; it is fetched if it does not."""

    @abstractmethod
    def _add(self, name: str, files: dict[str, Path], facts: dict[str, Any]) -> int:
        """Keep a new version; return its number."""

    @abstractmethod
    def _add_evaluation(self, version: ModelVersion, record: dict[str, Any]) -> None:
        """Keep a record of a test."""

    @abstractmethod
    def _set_alias(self, version: ModelVersion, alias: str) -> None:
        """Point an alias at a version."""

    def register(
        self,
        name: str,
        checkpoint: Path,
        *,
        config: Path | None,
        lineage: dict[str, str],
        signature: dict[str, Any],
    ) -> ModelVersion:
        """Keep a checkpoint as the next version of a model; one that is there already is returned as it is.

        Args:
            name: of the model.
            checkpoint: the file.
            config: configuration of its run, kept beside it; None for a checkpoint of no run.
            lineage: see :class:`ModelVersion`.
            signature: likewise.

        Raises:
            ValueError: no fit name, or a bundle.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name}: expected a name of letters, digits, - and _.")
        if is_bundle(checkpoint):
            raise ValueError(f"{checkpoint} is a bundle. Register the checkpoint that it was exported from.")
        whole = digest(checkpoint)
        known = {version.checkpoint_hash: version for version in self.versions(name)}
        if whole in known:
            return known[whole]
        files = {"model.ckpt": checkpoint, **({} if config is None else {"config.yaml": config})}
        created = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        facts = {"checkpoint_hash": whole, "created": created, "lineage": lineage, "signature": signature}
        return self.find(name, str(self._add(name, files, facts)))

    def find(self, name: str, which: str) -> ModelVersion:
        """Return a version by its number or by an alias.

        Raises:
            ValueError: there is none; names what there is.
        """
        versions = self.versions(name)
        if not versions:
            known = ", ".join(self.names()) or "none"
            raise ValueError(f"{self.place} has no model '{name}'. Its models: {known}.")
        by_name = dict(_called(versions))
        if which not in by_name:
            raise unknown_name(f"version or alias of {name}", which, by_name)
        return by_name[which]

    def evaluate(self, version: ModelVersion, record: dict[str, Any]) -> None:
        """Keep the record of a test of a version; one that is there already stays.

        Raises:
            ValueError: it was a test of another file.
        """
        if not version.fits(record):
            raise ValueError(
                f"{record['file']} tested the checkpoint {record['checkpoint_hash']}; version {version.number} of "
                f"{version.name} is {version.checkpoint_hash[:HASH_DIGITS]}. Test this one."
            )
        if record["digest"] not in {known["digest"] for known in version.evaluations}:
            self._add_evaluation(version, record)

    def alias(self, version: ModelVersion, alias: str) -> None:
        """Point an alias at a version, away from where it pointed.

        Raises:
            ValueError: no fit alias, or the champion's, which needs a test.
        """
        if not _ALIAS.fullmatch(alias):
            raise ValueError(
                f"{alias}: expected an alias of small letters, digits, - and _, such as candidate; not latest or v1."
            )
        if alias == CHAMPION:
            raise ValueError(
                f"{CHAMPION} is what a test makes of a version: sceneleap registry promote {version.name} "
                f"{version.number}"
            )
        self._set_alias(version, alias)

    def promote(self, version: ModelVersion) -> None:
        """Make a version the champion.

        Raises:
            ValueError: no record of a test of its file is there.
        """
        if not version.tested:
            raise ValueError(
                f"{version.name} {version.number} cannot be promoted: no test of this checkpoint "
                f"({version.checkpoint_hash[:HASH_DIGITS]}) is on record. Run python test_lightning.py "
                f"checkpoint=registry:{version.name}@{version.number}, and promote it again, or name the results of "
                "its test: --evaluation <folder>/results.json"
            )
        self._set_alias(version, CHAMPION)


def _called(versions: list[ModelVersion]) -> Iterator[tuple[str, ModelVersion]]:
    for version in versions:
        yield str(version.number), version
        for alias in version.aliases:
            yield alias, version
