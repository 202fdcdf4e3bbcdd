"""Which files a conversion was made of, and whether they are still the same."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_NAMED = 3  # changes that a sentence names


@dataclass(frozen=True)
class Source:
    """The files of a source: bytes and time of the last change (ns), by path from its root."""

    files: Mapping[str, tuple[int, int]]

    @classmethod
    def scan(cls, root: Path, places: Iterable[Path]) -> "Source":
        """List every file in some files and folders; reads none. A place that is not there has no files."""
        found = {}
        for place in places:
            for path, state in _files(place):
                name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
                found[name] = (state.st_size, state.st_mtime_ns)
        return cls(found)

    @classmethod
    def from_json(cls, text: str) -> "Source":
        """Read what :meth:`to_json` wrote."""
        return cls({name: (int(size), int(time)) for name, (size, time) in json.loads(text).items()})

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(dict(sorted(self.files.items())))

    def changes(self, now: "Source") -> str:
        """Say what has changed until ``now``; nothing where all files are the same."""
        found = [f"{name} is gone" for name in self.files.keys() - now.files.keys()]
        found += [f"{name} is new" for name in now.files.keys() - self.files.keys()]
        for name in self.files.keys() & now.files.keys():
            (size, time), (size_now, time_now) = self.files[name], now.files[name]
            if size != size_now:
                found.append(f"{name} had {size} bytes and has {size_now}")
            elif time != time_now:
                found.append(f"{name} was written again")
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return "; ".join(sorted(found)[:_NAMED]) + more


def _files(place: Path) -> Iterator[tuple[Path, os.stat_result]]:
    if place.is_dir():
        with os.scandir(place) as entries:
            for entry in entries:
                yield from _files(Path(entry.path))
    elif place.is_file():
        yield place, place.stat()
