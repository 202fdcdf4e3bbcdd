"""What happens to an item that cannot be right: named, counted and left out; too many of them stop the run."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sceneleapultra.utils.core.files import write_atomically

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadItem:
    """An item that could not be built."""

    index: int  # of the item in its store
    scene: int
    target: int
    view: int
    object_name: str
    store: str
    cause: str


class Quarantine:
    """Counts bad items, each once, and lists them in a file.

    Args:
        path: the list, one JSON object a line, of all data sets of a run; what an earlier part of the run put there
            counts too.
        num_items: of the data set.
        max_fraction: share of bad items above which :meth:`add` raises; 0 stops at the first.
        holds: says whether a listed item is one of the data set.
    """

    def __init__(
        self, path: Path, *, num_items: int, max_fraction: float, holds: Callable[[BadItem], bool]
    ) -> None:
        self.path, self.num_items, self.max_fraction = path, num_items, max_fraction
        listed = _read(path) if path.is_file() else []
        self._known = {item.index: item for item in listed if holds(item)}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, bad: Sequence[BadItem]) -> None:
        """Take items in.

        Raises:
            ValueError: there are too many of them now.
        """
        for item in bad:
            if item.index in self._known:
                continue
            self._known[item.index] = item
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(asdict(item)) + "\n")
        if bad and len(self._known) > self.max_fraction * self.num_items:
            last = bad[-1]
            raise ValueError(
                f"{len(self._known)} of {self.num_items} items are bad, more than data.loading.max_bad_fraction="
                f"{self.max_fraction:g} allows. The last: item {last.index} (scene {last.scene}, view {last.view}, "
                f"object '{last.object_name}') of {last.store}: {last.cause} All are listed in {self.path}. Look at "
                "the data with scripts/inspect_dataset.py, or raise data.loading.max_bad_fraction to leave them out."
            )


def _read(path: Path) -> list[BadItem]:
    """Read a list; half a line at its end, which a kill leaves, is dropped: its item is found again.

    Raises:
        ValueError: a line before the last that is no bad item.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    items: list[BadItem] = []
    for number, line in enumerate(lines, start=1):
        try:
            items.append(BadItem(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number < len(lines) or line.endswith(b"\n"):
                raise ValueError(
                    f"{path}: line {number} is no entry of a list of bad items ({error}). Mend that line, or remove "
                    "the file to begin a new list."
                ) from error
            _log.warning("%s ends in half a line, which a stopped run left; it is dropped.", path)
            write_atomically(path, lambda temporary: temporary.write_bytes(b"".join(lines[:-1])))
    return items
