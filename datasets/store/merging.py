"""How shards become one store: each checked against its hash, all of one run, every scene once."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from sceneleapultra.datasets.store.schema import CONTENT_ATTRIBUTES, Origin
from sceneleapultra.datasets.store.shard import Shard
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.datasets.store.writer import StoreWriter
from sceneleapultra.hands import Hand
from sceneleapultra.utils.core.compare import differences


def check_one_run(shards: Sequence[Shard]) -> None:
    """Make sure that shards were made with the same settings, and that no scene is in two of them.

    Raises:
        ValueError: they were not; names the shard and what is different in it.
    """
    first, owners = shards[0], dict[int, Path]()
    for shard in shards:
        found = differences(_settings(first), _settings(shard), "{key}: {new}, there {old}")
        if found:
            raise ValueError(
                f"{shard.path} is a shard of another run than {first.path} ({'; '.join(found)}). Merge the shards of "
                "one run; stores of several are trained on together by data.store=[one.h5,other.h5]."
            )
        for index in shard.columns["scenes/index"].tolist():
            if (owner := owners.setdefault(index, shard.path)) != shard.path:
                raise ValueError(
                    f"{shard.path} holds scene {index}, as {owner} does. Merge every scene once: remove one of the two."
                )


def merge(path: Path, shards: Sequence[Shard], hand: Hand, progress: Callable[[int], object]) -> Path:
    """Write the store that one program would have written; a killed merge continues with the same command.

    Args:
        path: the store to write.
        shards: of one run.
        hand: whose grasps they hold.
        progress: called with how many more scenes were written.

    Raises:
        FileExistsError: there is a store of another run.
        ValueError: shards that do not belong together, or of which one is not what was written.
    """
    check_one_run(shards)
    attributes = shards[0].attributes
    writer = StoreWriter(
        path,
        hand=hand,
        protocol=attributes["protocol"],
        protocol_hash=attributes["protocol_hash"],
        generator=json.loads(attributes["generator"]),
        seed=int(attributes["seed"]),
        origin=Origin.from_json(attributes["origin"]),
    )
    writer.check_scenes([index for shard in shards for index in shard.columns["scenes/index"].tolist()])
    done = writer.done_indices()
    for shard in shards:
        shard.verify()
        store = GraspStore(shard.path, hand)
        for row in range(store.num_scenes):
            if store.index_of(row) not in done:
                writer.write(store.record(row))
            progress(1)
    return writer.finish()


def _settings(shard: Shard) -> dict[str, object]:
    return {name: shard.attributes[name] for name in CONTENT_ATTRIBUTES} | {
        "generator": json.loads(shard.attributes["generator"])
    }
