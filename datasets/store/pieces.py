"""A data set that many programs make: which scenes are whose, and what is still missing."""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sceneleapultra.datasets.store.hdf5 import open_hdf5
from sceneleapultra.datasets.store.schema import parts_folder
from sceneleapultra.utils.core.files import read_json_object, write_text

_SHARE = re.compile(r"(\d+)/(\d+)")
_WANTED = "wanted.json"  # in the folder of parts: the scenes that its program is to make


@dataclass(frozen=True)
class Share:
    """A shard of a data set: the ``number``-th of so many, from 0, each with scenes in a row.

    Raises:
        ValueError: there is no such shard.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            raise ValueError(
                f"shard={self.number}/{self.of}: expected the number of a shard, 0 to {self.of - 1}, and how many "
                "there are."
            )

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Read ``3/16``."""
        if (found := _SHARE.fullmatch(text.strip())) is None:
            raise ValueError(
                f"shard={text}: expected <number>/<how many>, for example 3/16; the first is 0/16."
            )
        return cls(int(found[1]), int(found[2]))

    def path(self, whole: Path) -> Path:
        """Return the file of this shard: ``all-00003-of-00016.h5``."""
        return whole.with_name(f"{whole.stem}-{self.number:05d}-of-{self.of:05d}{whole.suffix}")

    def scenes(self, count: Any) -> range:
        """Return which of ``count`` scenes are in this shard.

        Raises:
            ValueError: no whole number of at least 1, or fewer scenes than shards.
        """
        if type(count) is not int or count < 1:
            raise ValueError(f"scenes={count}: expected a whole number of at least 1.")
        if count < self.of and self.of > 1:
            raise ValueError(f"shard={self.number}/{self.of}: {count} scenes cannot fill {self.of} shards.")
        return range(self.number * count // self.of, (self.number + 1) * count // self.of)


@dataclass(frozen=True)
class Piece:
    """A store, finished or not: the scenes that it has, and those that it will have."""

    path: Path
    complete: bool
    done: frozenset[int]
    wanted: frozenset[int]

    @classmethod
    def of(cls, path: Path) -> "Piece | None":
        """Look at a store or its parts; None where there is neither."""
        if path.is_file():
            with open_hdf5(path) as file:
                done = frozenset(int(index) for index in file["scenes/index"][:])
            return cls(path, True, done, done)
        if not (parts := parts_folder(path)).is_dir():
            return None
        done = frozenset(int(part.stem) for part in parts.glob("*.npz") if part.stem.isdigit())
        wanted = frozenset[int]()
        if (note := parts / _WANTED).is_file():
            wanted = frozenset(from_ranges(read_json_object(note, f"Remove {note}.")["scenes"]))
        return cls(path, False, done, wanted)


def note_wanted(parts: Path, scenes: Collection[int]) -> None:
    """Write down which scenes a program is to make, for those who ask how far it is."""
    write_text(parts / _WANTED, json.dumps({"scenes": as_ranges(scenes)}))


def pieces_of(whole: Path) -> list[Piece]:
    """Return the store at a path and all its shards, as far as they were begun."""
    shard = re.compile(rf"{re.escape(whole.stem)}-\d{{5}}-of-\d{{5}}{re.escape(whole.suffix)}")
    names = {path.name.removesuffix(".parts") for path in whole.parent.iterdir()}
    found = (
        Piece.of(whole.with_name(name))
        for name in sorted(names)
        if name == whole.name or shard.fullmatch(name)
    )
    return [piece for piece in found if piece is not None]


def gaps(pieces: Iterable[Piece], scenes: int | None) -> frozenset[int]:
    """Return the scenes that no piece has; of so many, or up to the last one that a piece has or will have."""
    pieces = list(pieces)
    named = frozenset[int]().union(*(piece.done | piece.wanted for piece in pieces))
    count = max(named, default=-1) + 1 if scenes is None else scenes
    return frozenset(range(count)).difference(*(piece.done for piece in pieces))


def not_begun(pieces: Iterable[Piece]) -> list[str]:
    """Return the shards, as they are named on a command line, of which there is nothing yet."""
    names = [re.search(r"-(\d{5})-of-(\d{5})$", piece.path.stem) for piece in pieces]
    numbers = {(int(found[1]), int(found[2])) for found in names if found}
    counts = {of for _, of in numbers}
    return [f"{number}/{of}" for of in sorted(counts) for number in range(of) if (number, of) not in numbers]


def as_ranges(scenes: Iterable[int]) -> str:
    """Write numbers as ``0-4, 7``."""
    runs: list[list[int]] = []
    for index in sorted(scenes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def from_ranges(text: str) -> Iterator[int]:
    """Read what :func:`as_ranges` wrote."""
    for run in filter(None, text.split(", ")):
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)
