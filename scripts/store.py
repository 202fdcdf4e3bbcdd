"""Verify stores, list shards in a manifest, bring stores to the present version.

python scripts/store.py verify data/quick.h5
python scripts/store.py manifest data/all.json data/part*.h5
python scripts/store.py migrate data/old.h5 data/new.h5
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import console
from sceneleapultra.utils.core.files import write_atomically


def verify(store: list[str]) -> None:
    """Compute the content hash of every shard again, and check that the shards belong together.

    Args:
        store: files, patterns or a manifest
    """
    from sceneleapultra.datasets.store.missing import check_there

    check_there(store)
    from sceneleapultra.datasets.store.manifest import resolve
    from sceneleapultra.datasets.store.shard import Shard, merge_attributes

    shards = [Shard(path) for path in resolve(store)]
    for shard in shards:
        shard.verify()
        console.print(f"{shard.path}: {shard.attributes['content_hash']}", highlight=False, soft_wrap=True)
    if len(shards) > 1:
        console.print(f"together: {merge_attributes(shards)['content_hash']}", highlight=False)


def manifest(path: Path, store: list[str]) -> None:
    """Write which files are one data set, with their hashes.

    Args:
        path: the manifest to write (.json)
        store: files or patterns

    Raises:
        ValueError: no name of a manifest, or shards that do not belong together.
    """
    from sceneleapultra.datasets.store.missing import check_there

    if path.suffix != ".json":
        raise ValueError(f"{path}: a manifest ends in .json, so that data.store knows it for one. Rename it.")
    check_there(store)
    from sceneleapultra.datasets.store.manifest import resolve, write_manifest
    from sceneleapultra.datasets.store.shard import Shard, merge_attributes

    shards = [Shard(found) for found in resolve(store)]
    total = merge_attributes(shards)["content_hash"]
    write_manifest(path, [shard.path for shard in shards])
    console.print(f"{path}: {len(shards)} shards, {total}", highlight=False, soft_wrap=True)


def migrate(store: Path, path: Path) -> None:
    """Write a store of an earlier version, or in another layout, as this version writes it.

    Args:
        store: the data set (.h5)
        path: the new store

    Raises:
        FileExistsError: there is something at the new path.
        ValueError: the store is damaged.
    """
    from sceneleapultra.datasets.store.missing import check_there

    check_there(store)
    from sceneleapultra.datasets.store.hdf5 import open_hdf5
    from sceneleapultra.datasets.store.layout import repack
    from sceneleapultra.datasets.store.schema import SCHEMA_VERSION, content_hash
    from sceneleapultra.datasets.store.shard import Shard

    if path.exists():
        raise FileExistsError(f"{path} exists already. Remove it, or name another path.")
    shard = Shard(store)
    shard.verify()
    before = shard.attributes["content_hash"]
    attributes = {**shard.attributes, "schema_version": SCHEMA_VERSION}
    attributes["content_hash"] = content_hash(shard.columns, attributes)

    def write(temporary: Path) -> None:
        with open_hdf5(store) as source:
            repack(source, temporary, attributes)
        Shard(temporary).verify()

    write_atomically(path, write)
    after = Shard(path).attributes["content_hash"]
    kept = "" if after == before else f"; content hash {before[:12]} became {after[:12]}"
    console.print(f"{path}: schema version {SCHEMA_VERSION}{kept}", highlight=False, soft_wrap=True)


def main() -> None:
    """Do what the command line names."""
    cli.run({"verify": verify, "manifest": manifest, "migrate": migrate}, __doc__)


if __name__ == "__main__":
    main()
