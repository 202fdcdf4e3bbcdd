"""How stores of earlier versions are read: each version's step to the next, in memory; files stay as they are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sceneleapultra.datasets.store.schema import GENERATED, SCHEMA_VERSION

Attributes = dict[str, Any]


def migrate_attributes(attributes: Mapping[str, Any], path: Path) -> Attributes:
    """Return the attributes of a store as the present version has them.

    Raises:
        ValueError: a version that this program does not know.
    """
    version = int(attributes["schema_version"])
    if version != SCHEMA_VERSION and version not in STEPS:
        raise ValueError(
            f"data.store: {path} has schema version {version}, this program reads {min(STEPS)} to {SCHEMA_VERSION}. "
            "Use the program that wrote it."
        )
    result = dict(attributes)
    for step in range(version, SCHEMA_VERSION):
        result = STEPS[step](result)
    return result


def _origin(attributes: Attributes) -> Attributes:
    """Version 1 held generated data only."""
    return {**attributes, "origin": GENERATED.to_json()}


STEPS: Mapping[int, Callable[[Attributes], Attributes]] = {1: _origin}
