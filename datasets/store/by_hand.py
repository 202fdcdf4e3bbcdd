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


def of_one_hand(store: str | Path | Sequence[str], own: str) -> tuple[str, list[str]]:
    """Return the hand that a model for many is to serve, and its files: its own if there are any, or the only one.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: one is not a store, or they are of several hands, none of which is its own.
    """
    files = stores_by_hand(store)
    if own in files:
        return own, files[own]
    if len(files) > 1:
        raise ValueError(
            f"store: expected files of one hand, or of the model's own ({own}) among them, found those of "
            f"{', '.join(files)}. Name those of one hand."
        )
    return next(iter(files.items()))
