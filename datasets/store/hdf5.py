"""Is a file plain HDF5: columns that lie in it themselves, no links, nothing that unpacks to far more than it holds?

Reading goes past HDF5, to the bytes at the place a column has in its file; what a link, a virtual data set or external
storage shows instead of those bytes is other data than was checked. A filter may load code, or unpack without end.
"""

import errno
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from sceneleapultra.utils.core.files import describe_file

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What h5py raises for a damaged file, by the part that is damaged.
_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
_MAX_UNPACKED = 100  # times the size of the file; clouds, most of a store, hardly shrink
_log = logging.getLogger(__name__)


class StoreError(ValueError):
    """A store that cannot be used, as a sentence for the user."""


@dataclass(frozen=True)
class Place:
    """Where the rows of a column lie in its file.

    Args:
        shape: of the column.
        dtype: of its values; None for text.
        offset: of its first byte; None where it does not lie in one piece, and is read through HDF5.
    """

    shape: tuple[int, ...]
    dtype: np.dtype | None
    offset: int | None

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return 0 if self.dtype is None else math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows."""
        return self.shape[0] * self.row_bytes


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; whatever HDF5 has to say of it, then or later, becomes a sentence.

    Raises:
        StoreError: no HDF5 file, cut off, damaged, or open for writing elsewhere.
    """
    try:
        with open_file(path) as file:
            yield file
    except StoreError:
        raise
    except _ERRORS as error:
        raise StoreError(explain(path, error)) from error


def open_file(path: Path) -> h5py.File:
    """Open a file for reading, without a lock where the file system has none; see :func:`open_hdf5`."""
    with path.open("rb") as file:
        if file.read(len(_SIGNATURE)) != _SIGNATURE:
            raise StoreError(
                f"{path} is no HDF5 file: it is {describe_file(path)}. Pass the store that "
                "scripts/generate_dataset.py wrote."
            )
    try:
        return h5py.File(path)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        # A finished store is never written to: reading needs no lock.
        _log.info("%s lies on a file system without locks; it is read without one.", path)
        return h5py.File(path, locking=False)


def explain(path: Path, error: Exception) -> str:
    """Return what is wrong with a file and what to do."""
    text = str(error)
    if isinstance(error, BlockingIOError):
        return f"{path} is open for writing in another process. Wait until that is done, or end it."
    if "already open for write" in text:
        return (
            f"{path} is open for writing in another process, or was when that process was killed. Wait until it is "
            f"done; if there is none, `h5clear --status {path}` (of HDF5's tools) opens the file again."
        )
    if isinstance(error, PermissionError):
        return f"{path} may not be read by this user. Ask its owner: chmod a+r {path}"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"{path} cannot be opened: this process has too many files open. Raise the limit (ulimit -n 4096), or join "
            "shards."
        )
    if (cut := re.search(r"stored_eof = (\d+)", text)) is not None:
        size = path.stat().st_size
        return (
            f"{path} is not a complete store: it was cut off after {size} of {cut[1]} bytes. Copy it again."
        )
    return f"{path} is damaged ({text}). Copy it again from where it came."


def find_place(file: h5py.File, name: str) -> Place | None:
    """Return where a column lies; None where there is none.

    Raises:
        StoreError: it is no plain column of this file.
    """
    group: h5py.Group = file
    for depth, part in enumerate(parts := name.split("/"), start=1):
        link = group.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise _refusal(file, name, "is a link to elsewhere")
        found = group[part]
        if not isinstance(found, h5py.Dataset if depth == len(parts) else h5py.Group):
            return None
        group = found
    data: h5py.Dataset = group
    if data.is_virtual or data.external:
        raise _refusal(file, name, "takes its values from other files")
    properties = data.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if not filters <= _FILTERS:
        raise _refusal(
            file, name, f"is packed by a filter that stores do not have ({min(filters - _FILTERS)})"
        )
    text = h5py.check_string_dtype(data.dtype)
    if text is None and data.dtype.hasobject:
        raise _refusal(file, name, f"has values of type {data.dtype}")
    if data.shape is None or not data.shape:
        raise _refusal(file, name, "has no rows")
    offset = None if text is not None else data.id.get_offset()
    place = Place(data.shape, None if text is not None else data.dtype, offset)
    _check_size(file, name, data, place)
    return place


def _check_size(file: h5py.File, name: str, data: h5py.Dataset, place: Place) -> None:
    size = Path(file.filename).stat().st_size
    if place.offset is not None:
        if place.offset + place.num_bytes > size:
            raise _refusal(file, name, f"ends {place.offset + place.num_bytes - size} bytes behind the file")
        return
    unpacked = len(data) * math.prod(data.shape[1:]) * data.dtype.itemsize
    if data.chunks is not None:  # read whole, however few of its rows are wanted
        unpacked = max(unpacked, math.prod(data.chunks) * data.dtype.itemsize)
    if unpacked > _MAX_UNPACKED * size:
        raise _refusal(
            file, name, f"would unpack to {unpacked / 1e9:.3g} GB, the file has {size / 1e9:.3g} GB"
        )


def _refusal(file: h5py.File, name: str, what: str) -> StoreError:
    return StoreError(
        f"{file.filename} is not read: {name} {what}. Only plain data that the file holds itself are; ask whoever made "
        "it for such a file."
    )
