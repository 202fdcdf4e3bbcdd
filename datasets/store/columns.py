"""How rows are read from the files of a store, and what a process has read.

Several files, the shards, are read as if their columns were joined. No row range that a pointer names crosses from one
shard into the next.
"""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sceneleapultra.datasets.store.pointers import POINTERS
from sceneleapultra.datasets.store.schema import COLUMNS
from sceneleapultra.datasets.store.shard_file import ShardFile

# Where the values of a column count rows of another; they move on by the rows of the shards before.
POINTS_TO = {**{name: target for name, (_, target) in POINTERS.items()}, "scenes/object": "objects/name"}


@dataclass
class ReadCounters:
    """What a process has read, in bytes."""

    mapped: int = 0  # taken from memory maps: from the page cache, or from the disk behind it
    decoded: int = 0  # read through HDF5

    @staticmethod
    def fetched() -> int:
        """Return how many bytes the system fetched from storage for this process; the rest was in the page cache."""
        lines = Path("/proc/self/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


class Columns:
    """Columns of one or several complete stores, read by row; each process opens the files itself.

    Args:
        files: the files.
    """

    def __init__(self, files: Sequence[ShardFile]) -> None:
        self.files = tuple(files)
        self.counters = ReadCounters()
        self._counted_in = os.getpid()
        lengths = {name: [file.length(name) for file in files] for name in COLUMNS}
        self._starts = {name: [0, *np.cumsum(n).tolist()] for name, n in lengths.items()}

    def open(self) -> None:
        """Count what this process reads, not what the one before a fork had read."""
        if self._counted_in != os.getpid():
            self.counters, self._counted_in = ReadCounters(), os.getpid()

    def shard_of(self, name: str, row: int) -> int:
        """Return which file holds a row of a column."""
        return min(bisect_right(self._starts[name], row) - 1, len(self.files) - 1)

    def read(self, name: str, rows: slice) -> np.ndarray:
        """Return a copy of some rows of a column, all of one shard.

        Raises:
            StoreError: they are not what was written.
        """
        self.open()
        start, stop = int(rows.start), int(rows.stop)
        shard = self.shard_of(name, start)
        first, file = self._starts[name][shard], self.files[shard]
        values = np.array(file.rows(name, start - first, stop - first))
        if file.is_mapped(name):
            self.counters.mapped += values.nbytes
        else:
            self.counters.decoded += values.nbytes
        return values

    def whole(self, name: str) -> np.ndarray:
        """Return a column of all shards; pointers count rows of the joined columns."""
        starts = self._starts[name]
        if name not in POINTS_TO:
            first = self.files[0].rows(name, 0, 0)
            # Copied one by one: what is not copied keeps its file open.
            joined = np.empty((starts[-1], *first.shape[1:]), first.dtype)
            for file, start, stop in zip(self.files, starts, starts[1:], strict=False):
                joined[start:stop] = file.rows(name, 0, stop - start)
            return joined
        begins = self._starts[POINTS_TO[name]]
        moved = [
            file.rows(name, 0, file.length(name)) + begin
            for file, begin in zip(self.files, begins, strict=False)
        ]
        # Where the last owner of a shard ends is where the first of the next begins.
        return np.concatenate([moved[0], *(p[1:] if name.endswith("ptr") else p for p in moved[1:])])
