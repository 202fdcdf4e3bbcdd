"""Verify stores, say what is missing, merge shards or list them in a manifest, bring stores to the present version.

python scripts/store.py verify data/quick.h5
python scripts/store.py status data/all.h5 --scenes 1000
python scripts/store.py merge data/all.h5 'data/all-*-of-*.h5'
python scripts/store.py manifest data/all.json data/part*.h5
python scripts/store.py migrate data/old.h5 data/new.h5
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import ProgressBars, console
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


def status(path: Path, *, scenes: int | None = None) -> int:
    """Say which scenes of a data set are there, and which are missing; the exit status is 1 where some are.

    Args:
        path: the store (.h5), which need not be there yet; its shards lie beside it
        scenes: how many scenes there are to be; otherwise as many as were begun

    Raises:
        FileNotFoundError: neither the store nor a shard was begun.
    """
    from sceneleapultra.datasets.store.pieces import as_ranges, gaps, not_begun, pieces_of

    if not path.parent.is_dir() or not (pieces := pieces_of(path)):
        raise FileNotFoundError(f"{path}: neither a store nor a part of one is there. Is the name right?")
    complete = sum(piece.complete for piece in pieces)
    console.print(f"{path}: {complete} of {len(pieces)} files are finished", highlight=False, soft_wrap=True)
    for piece in (piece for piece in pieces if not piece.complete):
        of = f" of {len(piece.wanted)}" if piece.wanted else ""
        console.print(f"  {piece.path}: {len(piece.done)}{of} scenes", highlight=False, soft_wrap=True)
    missing, absent = gaps(pieces, scenes), not_begun(pieces)
    if absent:
        console.print(f"not begun: shard={', '.join(absent)}", highlight=False, soft_wrap=True)
    if missing:
        console.print(f"missing scenes: {as_ranges(missing)}", highlight=False, soft_wrap=True)
    return int(bool(missing or absent or complete < len(pieces)))


def merge(path: Path, store: list[str], *, hand: str | None = None) -> None:
    """Write one store of shards, the same as if one program had made it; each is checked against its hash.

    Args:
        path: the store to write (.h5)
        store: the shards: files or patterns
        hand: the hand's file (config/hand), where it has no name of this project's
    """
    from sceneleapultra.datasets.store.missing import check_there

    check_there(store)
    from sceneleapultra.datasets.store.manifest import resolve
    from sceneleapultra.datasets.store.merging import merge as merge_shards
    from sceneleapultra.datasets.store.shard import Shard
    from sceneleapultra.hands import load_hand

    shards = [Shard(found) for found in resolve(store)]
    total = sum(shard.columns.length("scenes/index") for shard in shards)
    with ProgressBars() as bars:
        merge_shards(
            path,
            shards,
            load_hand(hand or shards[0].attributes["hand_name"]),
            bars.start_bar("scenes", total),
        )
    made = Shard(path).attributes["content_hash"]
    console.print(f"{path}: {len(shards)} shards, {total} scenes, {made}", highlight=False, soft_wrap=True)


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
    cli.run(
        {"verify": verify, "status": status, "merge": merge, "manifest": manifest, "migrate": migrate},
        __doc__,
    )


if __name__ == "__main__":
    main()
