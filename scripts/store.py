"""Looks after stores on disk: verify them, list shards in a manifest, bring them to the present version, copy them.

python scripts/store.py verify data/quick.h5
python scripts/store.py manifest data/all.json data/part*.h5
python scripts/store.py migrate data/old.h5 data/new.h5
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import h5py

from sceneleapultra.datasets.store.layout import repack
from sceneleapultra.datasets.store.manifest import resolve, write_manifest
from sceneleapultra.datasets.store.schema import SCHEMA_VERSION, content_hash
from sceneleapultra.datasets.store.shard import Shard, merge_attributes
from sceneleapultra.utils.core.console import console, sentences
from sceneleapultra.utils.core.files import write_atomically


def main(words: Sequence[str]) -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verify_words = verbs.add_parser("verify", help="compute the content hash of every shard again")
    verify_words.add_argument("store", nargs="+", help="files, patterns or a manifest")
    manifest_words = verbs.add_parser(
        "manifest", help="write which files are one data set, with their hashes"
    )
    manifest_words.add_argument("manifest", type=Path, help="the manifest to write (.json)")
    manifest_words.add_argument("store", nargs="+", help="files or patterns")
    migrate_words = verbs.add_parser("migrate", help="write a store as the present version lays it out")
    migrate_words.add_argument("store", type=Path)
    migrate_words.add_argument("path", type=Path, help="the new store")
    arguments = parser.parse_args(words)
    with sentences():
        if arguments.verb == "verify":
            verify(arguments.store)
        elif arguments.verb == "manifest":
            manifest(arguments.manifest, arguments.store)
        else:
            migrate(arguments.store, arguments.path)
    return 0


def verify(store: Sequence[str]) -> None:
    """Check every shard, and that they belong together."""
    shards = [Shard(path) for path in resolve(store)]
    for shard in shards:
        shard.verify()
        console.print(f"{shard.path}: {shard.attributes['content_hash']}", highlight=False, soft_wrap=True)
    if len(shards) > 1:
        console.print(f"together: {merge_attributes(shards)['content_hash']}", highlight=False)


def manifest(path: Path, store: Sequence[str]) -> None:
    """Write a manifest of shards that belong together.

    Raises:
        ValueError: no name of a manifest, or shards that do not belong together.
    """
    if path.suffix != ".json":
        raise ValueError(f"{path}: a manifest ends in .json, so that data.store knows it for one. Rename it.")
    shards = [Shard(found) for found in resolve(store)]
    total = merge_attributes(shards)["content_hash"]
    write_manifest(path, [shard.path for shard in shards])
    console.print(f"{path}: {len(shards)} shards, {total}", highlight=False, soft_wrap=True)


def migrate(store: Path, path: Path) -> None:
    """Write a store of an earlier version, or in another layout, as this program writes it.

    Raises:
        FileExistsError: there is something at the new path.
        ValueError: the store is damaged.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already. Remove it, or name another path.")
    shard = Shard(store)
    shard.verify()
    before = shard.attributes["content_hash"]

    def write(temporary: Path) -> None:
        with h5py.File(store) as source:
            repack(source, temporary)
        with h5py.File(temporary, "r+") as file:
            file.attrs.update(shard.attributes)
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["content_hash"] = content_hash(file, dict(file.attrs))

    write_atomically(path, write)
    after = Shard(path).attributes["content_hash"]
    kept = "" if after == before else f"; content hash {before[:12]} became {after[:12]}"
    console.print(f"{path}: schema version {SCHEMA_VERSION}{kept}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
