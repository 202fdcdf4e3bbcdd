"""Which files a data set is: one store, several that belong together, or a manifest that says which, with hashes."""

import hashlib
import json
import os
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

from sceneleapultra.datasets.store.hdf5 import open_hdf5
from sceneleapultra.datasets.store.opening import read_attributes
from sceneleapultra.utils.core.files import write_atomically

_FORMAT = "grasp store manifest 1"
_MAKE = "Make it again with: python scripts/store.py manifest {} <stores>"


def resolve(store: str | Path | Sequence[str]) -> list[Path]:
    """Return the files of a data set, sorted: a path, a pattern (``data/part*.h5``), a list of those, or a manifest.

    Raises:
        FileNotFoundError: a pattern that no file matches.
        ValueError: an empty list, a file twice, or a manifest that does not fit the files.
    """
    if isinstance(store, str | Path):
        if str(store).endswith(".json"):
            return _from_manifest(Path(store))
        # A name may hold brackets: what is there is taken before a pattern is.
        if any(c in str(store) for c in "*?[") and not Path(store).exists():
            found = [Path(p) for p in sorted(glob(str(store), recursive=True))]
            if not found:
                raise FileNotFoundError(f"data.store: no file matches {store}. Check the pattern.")
            return found
        return [Path(store)]
    paths = [path for one in store for path in resolve(one)]
    if not paths:
        raise ValueError("data.store: expected at least one store, got an empty list.")
    if twice := sorted({str(p) for p in paths if paths.count(p) > 1}):
        raise ValueError(f"data.store: {', '.join(twice)} is listed more than once. Name every shard once.")
    return paths


def joined_hash(hashes: Sequence[str]) -> str:
    """Return the content hash of several stores in their order; that of one is its own."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def write_manifest(path: Path, shards: Sequence[Path]) -> None:
    """Write which files a data set is, with the content hash of each; paths are relative to the manifest."""
    entries = [
        {
            "file": os.path.relpath(shard, path.parent),
            "bytes": shard.stat().st_size,
            "content_hash": _hash_of(shard),
        }
        for shard in shards
    ]
    total = joined_hash([str(entry["content_hash"]) for entry in entries])
    text = json.dumps({"format": _FORMAT, "content_hash": total, "shards": entries}, indent=1)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def _from_manifest(path: Path) -> list[Path]:
    if not path.is_file():
        raise FileNotFoundError(
            f"data.store: no manifest at {path}. Make it with: python scripts/store.py manifest"
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        known = manifest["format"] == _FORMAT
        shards = [
            (path.parent / e["file"], int(e["bytes"]), str(e["content_hash"])) for e in manifest["shards"]
        ]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:  # not JSON or UTF-8, no table, a number that is none
        raise ValueError(
            f"data.store: {path} is no manifest of stores ({error!r}). {_MAKE.format(path)}"
        ) from error
    if not known or not shards:
        raise ValueError(
            f"data.store: {path} is no manifest of this program ({_FORMAT}). {_MAKE.format(path)}"
        )
    for shard, size, content in shards:
        if not shard.is_file():
            raise FileNotFoundError(f"data.store: {path} lists {shard}, which is not there.")
        if (found := shard.stat().st_size) != size:
            raise ValueError(
                f"data.store: {shard} has {found} bytes, {path} lists {size}. Was it truncated or changed?"
            )
        if (other := _hash_of(shard)) != content:
            raise ValueError(
                f"data.store: {shard} has content hash {other[:12]}, {path} lists {content[:12]}. Make the manifest "
                "again if the change is wanted."
            )
    return [shard for shard, _, _ in shards]


def _hash_of(path: Path) -> str:
    with open_hdf5(path) as file:
        return str(read_attributes(file)["content_hash"])
