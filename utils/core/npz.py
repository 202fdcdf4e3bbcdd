"""How .npz files are read: all of their arrays, undamaged, or not at all."""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from sceneleapultra.utils.core.files import describe_file

_CHUNK = 1 << 24
_END, _END_BYTES, _COUNT_AT = b"PK\5\6", 22, 10  # of a zip archive without a comment


# What zipfile and numpy raise for files that are none, cut off or made up.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, KeyError, TypeError),
    *(AttributeError, NotImplementedError, RuntimeError, MemoryError),
)


def read_npz(path: Path, remedy: str = "") -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file, after its checksums; pickled ones are refused.

    Args:
        path: the file.
        remedy: what to do when it is damaged.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged or none; says what it is, and the remedy.
    """
    with path.open("rb") as stream:  # closed when numpy cannot make sense of it, too
        try:
            return _read(stream, None)
        except _UNREADABLE as error:
            fault = f"{path} is {describe_file(path)}; expected a complete .npz file of numbers ({_reason(error)})."
            raise ValueError(f"{fault} {remedy}".rstrip()) from error


def read_npz_bytes(content: bytes, source: str, max_bytes: int) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file that somebody sent, after its checksums; pickled ones are refused.

    Args:
        content: the file.
        source: what it is called in messages.
        max_bytes: of all arrays together; more is refused before it is unpacked.

    Raises:
        ValueError: it is damaged, none, or too large.
    """
    try:
        return _read(io.BytesIO(content), max_bytes)
    except _UNREADABLE as error:
        raise ValueError(
            f"{source}: expected a complete .npz file of numbers and texts, as numpy.savez writes it "
            f"({_reason(error)})."
        ) from error


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _read(stream: io.BufferedIOBase, max_bytes: int | None) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(stream) as archive:
        _check_count(stream, len(archive.infolist()))
        unpacked = sum(record.file_size for record in archive.infolist())
        if max_bytes is not None and unpacked > max_bytes:
            raise ValueError(f"its arrays take {unpacked:,} bytes, {max_bytes:,} are allowed")
        for record in archive.infolist():
            with archive.open(record) as file:
                while file.read(_CHUNK):
                    pass
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as arrays:
        return {name: np.asarray(arrays[name]) for name in arrays.files}


def _check_count(stream: io.BufferedIOBase, found: int) -> None:
    """Refuse an archive in whose list one entry swallows others; zipfile does not count."""
    stream.seek(-_END_BYTES, os.SEEK_END)
    end = stream.read()
    count = int.from_bytes(end[_COUNT_AT : _COUNT_AT + 2], "little")
    if end.startswith(_END) and count != min(found, 0xFFFF):
        raise ValueError(f"it lists {count} arrays, {found} are found")
