"""What lies in a bundle, by digest; a bundle is written completely or not at all, and read whole or refused.

Needs no torch: what serves a model without it reads bundles by this, too.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sceneleapultra import __version__
from sceneleapultra.utils.core.files import flush, read_json_object, write_json

MANIFEST = "manifest.json"
FORMAT, VERSION = "sceneleapultra bundle", 2  # 1: all weights float32
_AGAIN = "Copy the bundle again, or export it anew."


def is_bundle(path: Path) -> bool:
    """Say whether there is a bundle in a folder, whole or not."""
    return (path / MANIFEST).is_file()


def check_free(folder: Path) -> None:
    """Refuse a place where something is.

    Raises:
        FileExistsError: something is there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already. Name a new folder, or remove this one.")


@contextmanager
def new_bundle(folder: Path, about: dict[str, Any]) -> Iterator[Path]:
    """Give a folder to write in; once it is left, it stands at ``folder`` with its manifest, all of it on disk.

    Args:
        folder: where the bundle shall be; there must be nothing yet.
        about: what the manifest says besides files.

    Raises:
        FileExistsError: something is there.
        OSError: it cannot be written; nothing is left.
    """
    check_free(folder)
    folder = folder.absolute()
    temporary = folder.with_name(f".{os.getpid()}.tmp.{folder.name}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        files = sorted(path for path in temporary.iterdir())
        listed = {path.name: {"sha256": digest(path), "bytes": path.stat().st_size} for path in files}
        version = 1 if about.get("precision", "float32") == "float32" else VERSION
        head = {"format": FORMAT, "version": version, "written_by": __version__}
        write_json(temporary / MANIFEST, {**head, **about, "files": listed}, indent=1)
        for path in files:
            flush(path)
        flush(temporary)
        temporary.rename(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a bundle, after every file that it lists.

    Raises:
        FileNotFoundError: no bundle is there, or one of its files is missing.
        ValueError: a later version wrote it, it is of another kind, or a file is not what was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"No bundle at {folder}: it has no {MANIFEST}. Make one with sceneleap export."
        )
    manifest = read_json_object(path, _AGAIN)
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{path} is no manifest of a bundle: format is {manifest.get('format')!r}. {_AGAIN}")
    version, files = manifest.get("version"), manifest.get("files")
    if not isinstance(version, int) or version > VERSION:
        raise ValueError(
            f"{folder} has version {version}, this program reads up to {VERSION}: a later version of the project "
            f"({manifest.get('written_by')}) wrote it. Update the project."
        )
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{path} lists no files. {_AGAIN}")
    for name, expected in files.items():
        _check(folder, name, expected)
    return manifest


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(folder: Path, name: str, expected: Any) -> None:
    if Path(name).name != name or not isinstance(expected, dict):
        raise ValueError(f"{folder / MANIFEST} lists {name[:80]!r}, which is no file of the folder. {_AGAIN}")
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. {_AGAIN}")
    if (size := path.stat().st_size) != expected.get("bytes"):
        raise ValueError(f"{path} has {size:,} bytes, {expected.get('bytes'):,} were written. {_AGAIN}")
    if (found := digest(path)) != expected.get("sha256"):
        raise ValueError(
            f"{path} is not the file that was written: its SHA-256 begins with {found[:12]}, the manifest says "
            f"{str(expected.get('sha256'))[:12]}. {_AGAIN}"
        )
