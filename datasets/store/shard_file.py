"""The rows of one file: taken from a memory map where a column lies in one piece, else unpacked by HDF5.

Rows that were never read in this process are compared with their checksums first, where the file has some.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sceneleapultra.datasets.store.blocks import BLOCK_BYTES, BlockChecks, attributes_checksum, text_checksum
from sceneleapultra.datasets.store.hdf5 import Place, StoreError
from sceneleapultra.datasets.store.maps import FileId, hdf5_file, map_file
from sceneleapultra.datasets.store.schema import COLUMNS, DERIVED_COLUMNS

_TEXT_ROWS = 256  # read at once


@dataclass(frozen=True)
class FileLayout:
    """Where the columns of a file lie, and its columns of text."""

    file: FileId
    places: Mapping[str, Place]
    texts: Mapping[str, np.ndarray]
    checksums: Place | None


class ShardFile:
    """Reads one file; open files are a process's own, and are left behind when this is sent to another.

    Args:
        layout: where everything lies.
    """

    def __init__(self, layout: FileLayout) -> None:
        self.layout = layout
        packed = [name for name, place in layout.places.items() if _is_packed(place)]
        self.has_checksums = layout.checksums is not None and not packed
        self._checks = BlockChecks(layout.places) if self.has_checksums else None

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what was checked: another process checks what it reads."""
        return ShardFile(self.layout).__dict__

    @property
    def path(self) -> Path:
        """The file."""
        return self.layout.file.path

    def length(self, name: str) -> int:
        """Return the number of rows of a column; of one that the file lacks, those of what it stands beside."""
        if name not in self.layout.places:
            name = "objects/piece_sizes" if name.startswith("objects/") else "grasps/success"
        return self.layout.places[name].shape[0]

    def is_mapped(self, name: str) -> bool:
        """Tell whether a column is read from a memory map."""
        return name in self.layout.places and self.layout.places[name].offset is not None

    def rows(self, name: str, start: int, stop: int) -> Any:
        """Return some rows of a column, not to be changed; what stands for a derived one that the file lacks.

        Raises:
            StoreError: they are not what was written, or there are no such rows.
        """
        if not 0 <= start <= stop <= self.length(name):
            raise StoreError(
                f"data.store: {self.path} is damaged: rows {start} to {stop} of {name} are asked for, it has "
                f"{self.length(name)}. Copy it again from where it came."
            )
        if name in DERIVED_COLUMNS and name not in self.layout.places:
            return np.full(stop - start, DERIVED_COLUMNS[name], dtype=COLUMNS[name].dtype)
        place = self.layout.places[name]
        if place.dtype is None:
            return self.layout.texts[name][start:stop]
        if start == stop:
            return np.zeros((0, *place.shape[1:]), dtype=place.dtype)
        if place.offset is None:
            return hdf5_file(self.layout.file)[name][start:stop]
        if self._checks is not None:
            self._check(self._checks, name, start, stop)
        return _array(self.layout.file, place)[start:stop]

    def __getitem__(self, name: str) -> Any:
        """Return a column, as ``h5py.File`` does: text as bytes."""
        if COLUMNS[name].dtype == "text":
            return np.array([text.encode() for text in self.layout.texts[name]], dtype=object)
        return self.rows(name, 0, self.length(name))

    def check_unmapped(self, attributes: Mapping[str, Any], texts: Mapping[str, Sequence[bytes]]) -> None:
        """Compare what is read through HDF5 with its checksums: columns of text, and what the file says of itself.

        Raises:
            StoreError: it is not what was written.
        """
        if self._checks is None or self.layout.checksums is None:
            return
        written = _bytes(self.layout.file, self.layout.checksums).cast("I")
        starts = self._checks.starts
        wrong = [name for name, rows in texts.items() if text_checksum(rows) != written[starts[name]]]
        if attributes_checksum(attributes) != written[-1]:
            wrong.append("what it says of itself (its attributes)")
        if wrong:
            raise StoreError(
                f"data.store: {self.path} is damaged: {wrong[0]} is not what was written (its checksum differs). Copy "
                "it again from where it came."
            )

    def _check(self, checks: BlockChecks, name: str, start: int, stop: int) -> None:
        """Compare rows that were not read yet with their checksums."""
        place, checksums = self.layout.places[name], self.layout.checksums
        blocks = checks.unchecked(name, start * place.row_bytes, stop * place.row_bytes)
        if not blocks:
            return
        assert checksums is not None
        bad = checks.compare(
            name, blocks, _bytes(self.layout.file, place), _bytes(self.layout.file, checksums).cast("I")
        )
        if bad is not None:
            row = bad * BLOCK_BYTES // place.row_bytes
            raise StoreError(
                f"data.store: {self.path} is damaged: {name} is not what was written, about row {row} (its checksum "
                "differs). Copy it again from where it came."
            )


def _is_packed(place: Place) -> bool:
    return place.dtype is not None and place.offset is None and place.num_bytes > 0


def _bytes(file: FileId, place: Place) -> memoryview:
    """Return the bytes of a column on the map of its file."""
    assert place.offset is not None
    return memoryview(map_file(file))[place.offset : place.offset + place.num_bytes]


def _array(file: FileId, place: Place) -> np.ndarray:
    """Return a column as an array on the map of its file."""
    assert place.dtype is not None and place.offset is not None
    count = place.num_bytes // place.dtype.itemsize
    return np.frombuffer(map_file(file), place.dtype, count, place.offset).reshape(place.shape)


def read_texts(file: h5py.File, places: Mapping[str, Place]) -> dict[str, list[bytes]]:
    """Read the columns of text of an open file.

    Raises:
        StoreError: they hold far more text than the file has bytes.
    """
    room = Path(file.filename).stat().st_size
    texts: dict[str, list[bytes]] = {}
    for name in (n for n, place in places.items() if place.dtype is None):
        rows: list[bytes] = []
        for start in range(0, len(file[name]), _TEXT_ROWS):
            rows += list(file[name][start : start + _TEXT_ROWS])
            room -= sum(map(len, rows[start:]))
            if room < 0:
                raise StoreError(
                    f"data.store: {file.filename} is not read: {name} holds more text than the file has bytes."
                )
        texts[name] = rows
    return texts


def decode_texts(path: Path, texts: Mapping[str, list[bytes]]) -> dict[str, np.ndarray]:
    """Return columns of text as arrays of strings.

    Raises:
        StoreError: bytes that are no UTF-8.
    """
    try:
        return {name: np.array([r.decode() for r in rows], dtype=object) for name, rows in texts.items()}
    except UnicodeDecodeError as error:
        raise StoreError(
            f"data.store: {path} is damaged: a column of text is not UTF-8 ({error.reason}). Copy it again from where "
            "it came."
        ) from error
