"""How the columns of a store lie in its file: each in one piece, so that readers can map it into their memory."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sceneleapultra.datasets.store.blocks import (
    BLOCK_BYTES,
    CHECKSUMS,
    attributes_checksum,
    block_starts,
    text_checksum,
)
from sceneleapultra.datasets.store.hdf5 import find_place, open_hdf5
from sceneleapultra.datasets.store.opening import read_attributes
from sceneleapultra.datasets.store.schema import ATTRIBUTES, COLUMNS, DERIVED_COLUMNS, SCHEMA_MINOR
from sceneleapultra.datasets.store.shard_file import read_texts
from sceneleapultra.datasets.store.written_file import written_hdf5

_COPIED_ROWS = 1 << 17
_SOURCE = "source"  # of a conversion; no column, and not part of the content
_MAX_SOURCE_BYTES = 1 << 30
# From this version on, HDF5 keeps checksums of its own for what it writes about the columns.
_LIBRARY = "v110"


def repack(source: h5py.File, target: Path, attributes: Mapping[str, Any]) -> None:
    """Write the columns of an open store into a new file, each in one piece, uncompressed, with checksums."""
    with written_hdf5(target, libver=_LIBRARY) as file:
        for path, column in COLUMNS.items():
            if path in DERIVED_COLUMNS and path not in source:
                continue
            rows = source[path]
            if column.dtype == "text":
                file[path] = _fixed(list(rows[...]))
                continue
            copy = file.create_dataset(path, shape=rows.shape, dtype=rows.dtype)
            for start in range(0, len(rows), _COPIED_ROWS):
                copy[start : start + _COPIED_ROWS] = rows[start : start + _COPIED_ROWS]
        if _SOURCE in source:
            file[_SOURCE] = source[_SOURCE][...]
        for name in (name for name in ATTRIBUTES if name in attributes):
            value = attributes[name]
            file.attrs[name] = _fixed(value.encode()) if isinstance(value, str) else value
        file.attrs["schema_minor"] = SCHEMA_MINOR
    write_checksums(target)


def _fixed(texts: bytes | list[bytes]) -> np.ndarray:
    """Return texts in rows of one length: of a damaged heap, where texts of any length lie, HDF5 may read for ever."""
    return np.array(texts, dtype=h5py.string_dtype(length=max(1, np.array(texts, dtype="S").itemsize)))


def write_checksums(path: Path) -> None:
    """Write the checksums of what is in a file now."""
    with open_hdf5(path) as file:
        places = {name: place for name in COLUMNS if (place := find_place(file, name)) is not None}
        texts, attributes = read_texts(file, places), read_attributes(file)
    starts = block_starts(places)
    sums = np.zeros(starts[""] + 1, dtype=np.uint32)
    with path.open("rb") as raw:
        for name, place in places.items():
            if place.dtype is None:
                sums[starts[name]] = text_checksum(texts[name])
            elif place.num_bytes:
                assert place.offset is not None
                raw.seek(place.offset)
                for k, begin in enumerate(range(0, place.num_bytes, BLOCK_BYTES)):
                    block = raw.read(min(BLOCK_BYTES, place.num_bytes - begin))
                    sums[starts[name] + k] = zlib.crc32(block)
    sums[starts[""]] = attributes_checksum(attributes)
    with written_hdf5(path, "r+", libver=_LIBRARY) as file:
        if CHECKSUMS in file:
            del file[CHECKSUMS]
        file[CHECKSUMS] = sums


def write_source(file: h5py.File, text: str) -> None:
    """Keep which files a store was made of."""
    file[_SOURCE] = np.frombuffer(zlib.compress(text.encode()), dtype=np.uint8)


def read_source(path: Path) -> str | None:
    """Return which files a store was made of, as it was written; None where it does not say.

    Raises:
        StoreError: what it says is damaged.
    """
    with open_hdf5(path) as file:
        if find_place(file, _SOURCE) is None:
            return None
        packed = file[_SOURCE][...].tobytes()
        unpack = zlib.decompressobj()
        try:
            text = unpack.decompress(packed, _MAX_SOURCE_BYTES).decode()
        except (zlib.error, UnicodeDecodeError) as error:
            raise OSError(f"{_SOURCE}: {error}") from error
        if not unpack.eof:
            raise OSError(f"{_SOURCE} is cut off, or unpacks to more than {_MAX_SOURCE_BYTES} bytes")
        return text
