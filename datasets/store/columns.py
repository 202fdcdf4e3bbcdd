"""How rows are read from the files of a store: mapped into memory where a column lies in one piece, else through HDF5.

Several files, the shards, are read as if their columns were joined. No row range that a pointer names crosses from one
shard into the next.
"""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sceneleapultra.datasets.store.schema import COLUMNS

# Where the values of a column count rows of another; they move on by the rows of the shards before.
POINTS_TO = {
    "objects/vertices_ptr": "objects/vertices",
    "objects/faces_ptr": "objects/faces",
    "objects/piece_sizes_ptr": "objects/piece_sizes",
    "scenes/object_ptr": "scenes/object",
    "scenes/object": "objects/name",
    "scenes/view_ptr": "views/T_world_cam",
    "views/point_ptr": "views/points",
    "grasps/ptr": "grasps/success",
}


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
        paths: the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.counters = ReadCounters()
        self._open_in: int | None = None
        self._files: list[h5py.File] = []
        self._maps: dict[str, list[Any]] = {}
        self._starts: dict[str, list[int]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: every process has its own."""
        return Columns(self.paths).__dict__

    def open(self) -> None:
        """Open the files in this process; handles do not survive a fork."""
        if self._open_in == os.getpid():
            return
        self._files = [h5py.File(path) for path in self.paths]
        self._maps = {
            name: [_mapped(file[name], path) for file, path in zip(self._files, self.paths, strict=True)]
            for name in COLUMNS
        }
        lengths = {name: [len(file[name]) for file in self._files] for name in COLUMNS}
        self._starts = {name: [0, *np.cumsum(n).tolist()] for name, n in lengths.items()}
        self.counters = ReadCounters()
        self._open_in = os.getpid()

    def shard_of(self, name: str, row: int) -> int:
        """Return which file holds a row of a column."""
        self.open()
        return min(bisect_right(self._starts[name], row) - 1, len(self.paths) - 1)

    def read(self, name: str, rows: slice) -> np.ndarray:
        """Return a copy of some rows of a column, all of one shard."""
        shard = self.shard_of(name, int(rows.start))
        first = self._starts[name][shard]
        source = self._maps[name][shard]
        values = np.array(source[rows.start - first : rows.stop - first])
        if isinstance(source, np.ndarray):
            self.counters.mapped += values.nbytes
        else:
            self.counters.decoded += values.nbytes
        return values

    def whole(self, name: str) -> np.ndarray:
        """Return a column of all shards; pointers count rows of the joined columns."""
        self.open()
        parts = [source[...] for source in self._maps[name]]
        if COLUMNS[name].dtype == "text":
            return np.concatenate([file[name].asstr()[...] for file in self._files])
        if name not in POINTS_TO:
            return np.concatenate(parts)
        begins = self._starts[POINTS_TO[name]]
        moved = [part + begin for part, begin in zip(parts, begins, strict=False)]
        # Where the last owner of a shard ends is where the first of the next begins.
        return np.concatenate([moved[0], *(p[1:] if name.endswith("ptr") else p for p in moved[1:])])


def _mapped(data: h5py.Dataset, path: Path) -> Any:
    """Return a column as an array on the file, or as it is where it does not lie in one piece."""
    offset = data.id.get_offset()
    if offset is None or data.dtype.kind == "O":
        return data
    return np.asarray(np.memmap(path, dtype=data.dtype, mode="r", offset=offset, shape=data.shape))
