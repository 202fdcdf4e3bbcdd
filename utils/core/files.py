"""How a file is written so that it is there completely or not at all, and what a file is that cannot be read."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LFS = b"version https://git-lfs"
_MAGIC = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a PNG picture",
    b"\x93NUMPY": "a .npy array",
    b"\x80": "a pickle",
}
_ZIP_END = b"PK\x05\x06"
_SPAN = 66_000  # bytes at either end that are looked at: a zip archive's end lies within 65,557


def write_atomically(path: Path, write: Callable[[Path], object], *, keep: Path | None = None) -> None:
    """Write to a temporary name beside ``path``, flush it to disk, rename it and flush the folder.

    Args:
        path: the file.
        write: writes the file it is given; the name ends like that of ``path``.
        keep: where what lay at ``path`` before is kept, without a copy of its bytes.

    Raises:
        OSError: it cannot be written, for example on a full disk; what was there before is as it was.
    """
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        write(temporary)
        flush(temporary)
        if keep is not None:
            _keep(path, keep)
        temporary.replace(path)
        flush(path.parent)
    except OSError as error:
        raise type(error)(
            f"{path} could not be written ({error.strerror or error}). What was there before is as it was. Make room, "
            "or write elsewhere."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a text file that is there completely or not at all.

    Args:
        path: the file.
        text: what is in it.
        mode: who may read and write it, as far as the umask leaves it.
    """

    def write(temporary: Path) -> None:
        temporary.touch(mode)
        # Bytes that are no UTF-8, of names and of differences, are kept as they are.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")

    write_atomically(path, write)


def write_json(path: Path, content: Any, *, indent: int | None = None) -> None:
    """Write a JSON file that is there completely or not at all."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: the file.
        remedy: what to do when it is damaged.

    Raises:
        ValueError: cut off, empty, no JSON, or JSON of something else; with the path and the remedy.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON ({error}); it is {describe_file(path)}. {remedy}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}. {remedy}")
    return content


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def describe_file(path: Path) -> str:
    """Say in a few words what a file is, for messages about one that cannot be read: "empty", "a git-lfs pointer"."""
    size = path.stat().st_size
    if not size:
        return "empty"
    with path.open("rb") as file:
        head = file.read(_SPAN)
        file.seek(max(0, size - _SPAN))
        tail = file.read()
    if head.startswith(_LFS):
        return f"a git-lfs pointer of {size:,} bytes, not the file itself: fetch it with git lfs pull"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            cut = magic == b"PK\x03\x04" and _ZIP_END not in tail
            return f"{kind} of {size:,} bytes" + (", cut off" if cut else "")
    if not head.strip(b"\0"):
        return f"{size:,} bytes that begin with zeros"
    if head.lstrip()[:1] == b"<":
        html = any(word in head[:1000].lower() for word in (b"<!doctype html", b"<html"))
        return f"{'a page of HTML' if html else 'a file of XML'} of {size:,} bytes"
    return f"{'a text' if _is_text(head) else 'a file of no known kind'} of {size:,} bytes"


def _keep(path: Path, kept: Path) -> None:
    """Give what lies at ``path`` a second name; ``path`` is there at every moment where links are possible."""
    if not path.exists():
        return
    link = kept.with_name(f".{os.getpid()}.tmp.{kept.name}")
    try:
        os.link(path, link)
        link.replace(kept)
    except OSError:  # a file system without hard links
        path.replace(kept)
    finally:
        link.unlink(missing_ok=True)  # stays where both names were one file already


def _is_text(head: bytes) -> bool:
    try:
        head[: len(head) - 4].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def make_folder(folder: Path) -> None:
    """Make the folder of results before the work that makes them, and see that files can be written in it.

    Raises:
        OSError: it cannot be made, or nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(folder)
        raise
