"""How the columns of a store lie in its file: each in one piece, so that readers can map it into their memory."""

import zlib
from pathlib import Path

import h5py
import numpy as np

from sceneleapultra.datasets.store.schema import COLUMNS

_COPIED_ROWS = 1 << 17
_SOURCE = "source"  # of a conversion; no column, and not part of the content


def repack(source: h5py.File, target: Path) -> None:
    """Write the columns and attributes of an open store into a new file, each column in one piece, uncompressed."""
    with h5py.File(target, "w") as file:
        for path, column in COLUMNS.items():
            rows = source[path]
            kind = h5py.string_dtype() if column.dtype == "text" else rows.dtype
            copy = file.create_dataset(path, shape=rows.shape, dtype=kind)
            for start in range(0, len(rows), _COPIED_ROWS):
                copy[start : start + _COPIED_ROWS] = rows[start : start + _COPIED_ROWS]
        if _SOURCE in source:
            file[_SOURCE] = source[_SOURCE][...]
        file.attrs.update(source.attrs)


def write_source(file: h5py.File, text: str) -> None:
    """Keep which files a store was made of."""
    file[_SOURCE] = np.frombuffer(zlib.compress(text.encode()), dtype=np.uint8)


def read_source(path: Path) -> str | None:
    """Return which files a store was made of, as it was written; None where it does not say."""
    with h5py.File(path) as file:
        return zlib.decompress(file[_SOURCE][...].tobytes()).decode() if _SOURCE in file else None
