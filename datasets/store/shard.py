"""Which hand and origin is a file of, is its content what was written, and do several belong together?"""

import json
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sceneleapultra.datasets.store.manifest import joined_hash
from sceneleapultra.datasets.store.missing import missing_store
from sceneleapultra.datasets.store.opening import open_store
from sceneleapultra.datasets.store.schema import DERIVED_COLUMNS, content_hash
from sceneleapultra.hands import Hand

_log = logging.getLogger(__name__)


class Shard:
    """One file, checked.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a complete store, or of a schema version that this program does not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise FileNotFoundError(missing_store(path))
        self.attributes, self.columns = open_store(path)
        if not self.columns.has_checksums:
            _say_unprotected(path)

    def check_hand(self, hand: Hand) -> None:
        """Make sure that the grasps are this hand's.

        Raises:
            ValueError: they are not.
        """
        if self.attributes["hand_name"] != hand.name:
            raise ValueError(
                f"data.store: {self.path} holds grasps of hand '{self.attributes['hand_name']}', the configuration "
                f"asks for '{hand.name}'. Pass hand={self.attributes['hand_name']} or another data.store."
            )
        if self.attributes["hand_hash"] != hand.table_hash:
            raise ValueError(
                f"data.store: {self.path} was made with another description of hand '{hand.name}' (hash "
                f"{self.attributes['hand_hash']}, here {hand.table_hash}). Generate it again."
            )
        if (stored := json.loads(self.attributes["joint_names"])) != list(hand.joint_names):
            raise ValueError(
                f"data.store: {self.path} has joints {', '.join(stored)}, hand '{hand.name}' has "
                f"{', '.join(hand.joint_names)}. Generate it again."
            )

    def verify(self) -> None:
        """Compute the content hash again.

        Raises:
            ValueError: it is not the one that was written.
        """
        written = str(self.attributes["content_hash"])
        found = content_hash(self.columns, self.attributes)
        if found != written:
            raise ValueError(
                f"{self.path}: content hash {found[:12]} differs from the {written[:12]} written."
            )
        for name in DERIVED_COLUMNS:
            self.columns[name]  # compared with its checksums


def merge_attributes(shards: Sequence[Shard]) -> dict[str, Any]:
    """Return the attributes of several shards as one data set.

    Raises:
        ValueError: shards of different hands, or whose numbers come from different origins.
    """
    first = shards[0]
    for shard in shards[1:]:
        for name, what in (
            ("hand_name", "hand"),
            ("hand_hash", "description of the hand"),
            ("origin", "origin"),
        ):
            one, other = first.attributes[name], shard.attributes[name]
            if one != other:
                raise ValueError(
                    f"data.store: the shards of a data set share one {what}; {first.path} has {one}, {shard.path} has "
                    f"{other}. Train on them one by one."
                )
    if len(shards) == 1:
        return first.attributes
    merged = {name: value for name, value in first.attributes.items() if name != "counted"}
    for name in ("protocol", "protocol_hash"):
        merged[name] = " + ".join(sorted({str(shard.attributes[name]) for shard in shards}))
    merged["generator"] = json.dumps(
        {shard.path.name: json.loads(shard.attributes["generator"]) for shard in shards}, sort_keys=True
    )
    merged["content_hash"] = joined_hash([str(shard.attributes["content_hash"]) for shard in shards])
    return merged


@cache
def _say_unprotected(path: Path) -> None:
    """Say, once in a process, that damage to a file would go unnoticed."""
    _log.warning(
        "data.store: %s has no checksums: damage to it would go unnoticed. scripts/store.py migrate %s <new file> "
        "writes the same store with them.",
        path,
        path,
    )
