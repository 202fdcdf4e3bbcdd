"""How files are held open: a bounded number of memory maps and HDF5 handles, whatever number of shards is read.

One map serves all columns of a file, and all stores of a process that read it. What was used longest ago is closed when
there are too many, and opened again when it is asked for.
"""

import errno
import mmap
import os
import resource
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import h5py

from sceneleapultra.datasets.store.hdf5 import StoreError, explain, open_file

_MAX_HANDLES = 16  # of files with packed columns
T = TypeVar("T")


@dataclass(frozen=True)
class FileId:
    """A file as it was when it was checked; another one of its name, or a change, is not the same."""

    path: Path
    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileId":
        """Return what a path names now."""
        s = path.stat()
        return cls(path, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns)


class _Pool(Generic[T]):
    """What is open; the least recently used is let go of."""

    def __init__(self, opener: Callable[[Path], T], max_open: Callable[[], int]) -> None:
        self._opener, self._max_open = opener, max_open
        self._open: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, file: FileId, key: Hashable) -> T:
        """Return what is open of a file; open it, if nothing is.

        Raises:
            StoreError: the file was changed since it was checked, or cannot be opened.
        """
        if (found := self._open.get(key)) is not None:
            self._open.move_to_end(key)
            return found
        while len(self._open) >= max(1, self._max_open()):
            self._open.popitem(last=False)
        try:
            if FileId.of(file.path) != file:
                raise StoreError(
                    f"data.store: {file.path} was changed or replaced while it was in use. Start again."
                )
            try:
                made = self._opener(file.path)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                self._open.clear()
                made = self._opener(file.path)
        except OSError as error:
            raise StoreError(explain(file.path, error)) from error
        self._open[key] = made
        return made


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _half_of_the_limit() -> int:
    """Leave half of the open files that a process may have to everything else."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 16 if limit == resource.RLIM_INFINITY else limit // 2


_maps = _Pool(_map, _half_of_the_limit)
_handles = _Pool(open_file, lambda: _MAX_HANDLES)


def map_file(file: FileId) -> mmap.mmap:
    """Return a file as memory."""
    return _maps.get(file, file)


def hdf5_file(file: FileId) -> h5py.File:
    """Return a file as HDF5 opened it in this process; such handles do not survive a fork."""
    return _handles.get(file, (os.getpid(), file))
