"""Which hand each of several stores is of."""

from collections.abc import Sequence
from pathlib import Path

from sceneleapultra.datasets.store.manifest import resolve
from sceneleapultra.datasets.store.store import GraspStore


def stores_by_hand(store: str | Path | Sequence[str]) -> dict[str, list[str]]:
    """Return the files of a data set by the name of the hand they say they are of.

    Raises:
        FileNotFoundError: one is not there.
        ValueError: one is not a store.
    """
    files: dict[str, list[str]] = {}
    for path in map(str, resolve(store)):
        files.setdefault(str(GraspStore(path).attributes["hand_name"]), []).append(path)
    return files
