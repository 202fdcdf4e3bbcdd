"""How the columns of a store lie in its file: each in one piece, so that readers can map it into their memory."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py

from datasets.schema import COLUMNS

_COPIED_ROWS = 1 << 17


def repack(source: h5py.File, target: Path) -> None:
    """Write the columns and attributes of an open store into a new file, each column in one piece, uncompressed."""
    with h5py.File(target, "w") as file:
        for path, column in COLUMNS.items():
            rows = source[path]
            kind = h5py.string_dtype() if column.dtype == "text" else rows.dtype
            copy = file.create_dataset(path, shape=rows.shape, dtype=kind)
            for start in range(0, len(rows), _COPIED_ROWS):
                copy[start : start + _COPIED_ROWS] = rows[start : start + _COPIED_ROWS]
        file.attrs.update(source.attrs)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary name beside ``path``, flush it to disk and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file is on disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
