"""What a store holds: one HDF5 file of columns, ragged rows behind offsets.

``objects``: each object once, its surface and convex pieces. ``scenes``: what lies where, in which split.
``views``: camera and points of each view, in blocks by instance, each block in farthest-point order.
``grasps``: triples and verdicts, in order of (scene, object of the scene). Everything in the world frame.

``<rows>_ptr`` holds where the rows of each owner start, and where those of the last one end.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sceneleapultra.utils.columns import STORED_COLUMNS
from sceneleapultra.utils.records import GRASP_COLUMNS as GRASP_COLUMNS
from sceneleapultra.utils.records import SPLITS as SPLITS
from sceneleapultra.utils.records import VERDICT_COLUMNS as VERDICT_COLUMNS

SCHEMA_VERSION = 2
# 1 added checksums, 2 the type of a grasp, 3 its disturbance, 4 parts of objects; stores without are read.
SCHEMA_MINOR = 4
STORE_FRAME = "world"
UNITS = "m rad kg"
VIEW_COLUMNS = ("T_world_cam", "K", "points", "rgb", "instance")
# Attributes that say what was generated, not how it was stored; they enter the content hash.
CONTENT_ATTRIBUTES = (
    "hand_name",
    "joint_names",
    "hand_hash",
    "protocol",
    "protocol_hash",
    "generator",
    "seed",
    "origin",
)
# All that a store says of itself.
ATTRIBUTES = (
    *CONTENT_ATTRIBUTES,
    "content_hash",
    "schema_version",
    "schema_minor",
    "frame",
    "units",
    "counted",
)
ADDED_ATTRIBUTES = {"origin": 2}  # those that came with a later version
_HASHED_ROWS = 1 << 18


@dataclass(frozen=True)
class ColumnType:
    """Type of a column, and the shape of one row; -1 where the hand or the protocol decides."""

    dtype: str  # as numpy spells it; "text" for strings
    row: tuple[int, ...] = ()


COLUMNS: Mapping[str, ColumnType] = {
    "objects/name": ColumnType("text"),
    "objects/family": ColumnType("text"),
    "objects/mass": ColumnType("f8"),
    "objects/vertices_ptr": ColumnType("i8"),
    "objects/vertices": ColumnType("f4", (3,)),
    "objects/faces_ptr": ColumnType("i8"),
    "objects/faces": ColumnType("i4", (3,)),
    "objects/piece_sizes_ptr": ColumnType("i8"),
    "objects/piece_sizes": ColumnType("i8"),
    "objects/piece_vertices": ColumnType("f4", (3,)),
    "objects/piece_part": ColumnType("u1"),
    "scenes/index": ColumnType("i8"),
    "scenes/seed": ColumnType("i8"),
    "scenes/split": ColumnType("text"),
    "scenes/table": ColumnType("?"),
    "scenes/object_ptr": ColumnType("i8"),
    "scenes/object": ColumnType("i8"),
    "scenes/T_world_object": ColumnType("f8", (4, 4)),
    "scenes/view_ptr": ColumnType("i8"),
    "views/T_world_cam": ColumnType("f8", (4, 4)),
    "views/K": ColumnType("f8", (3, 3)),
    "views/point_ptr": ColumnType("i8"),
    "views/points": ColumnType("f4", (3,)),
    "views/rgb": ColumnType("u1", (3,)),
    "views/instance": ColumnType("u1"),
    "grasps/ptr": ColumnType("i8"),
    "grasps/hand_pose": ColumnType("f4", (-1,)),
    "grasps/pregrasp_qpos": ColumnType("f4", (-1,)),
    "grasps/squeeze_qpos": ColumnType("f4", (-1,)),
    **{f"grasps/{c.name}": ColumnType(c.stored, c.row) for c in STORED_COLUMNS},
}

# Columns that a store may lack, with what is read then: they follow from the others, and are not part of the content.
DERIVED_COLUMNS: Mapping[str, float] = {
    "grasps/grasp_type": 0,
    "grasps/held_part": 0,
    "grasps/touched_parts": 0,
    "grasps/disturbance": float("nan"),
    "objects/piece_part": 0,
}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the numbers of a store come from, so that nobody takes a claim for a measurement.

    ``derived`` joints were computed from the grasp by the converter; ``absent`` ones are NaN.
    """

    pregrasp_qpos: Literal["simulated", "source", "derived", "absent"]
    squeeze_qpos: Literal["simulated", "source", "derived", "absent"]
    verdicts: Literal["simulated", "claimed"]
    split_by: Literal["object", "category", "scene"]  # what never is in two splits

    @classmethod
    def from_json(cls, text: str) -> "Origin":
        """Read the attribute of a store."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write the attribute of a store."""
        return json.dumps(asdict(self), sort_keys=True)


GENERATED = Origin(
    pregrasp_qpos="simulated", squeeze_qpos="simulated", verdicts="simulated", split_by="category"
)


def parts_folder(path: Path) -> Path:
    """Return where the scenes of an unfinished store lie."""
    return path.with_name(f"{path.name}.parts")


def content_hash(columns: Any, attributes: Mapping[str, Any]) -> str:
    """Hash every column of a store and what it was generated from; independent of chunks, workers and times.

    A store keeps the hash of the version it was written in.

    Args:
        columns: gives a column by its name: an open file, or a :class:`.shard_file.ShardFile`.
        attributes: of the store.
    """
    version = int(attributes["schema_version"])
    digest = hashlib.sha256(f"schema {version}".encode())
    for name in CONTENT_ATTRIBUTES:
        if name not in ADDED_ATTRIBUTES or version >= ADDED_ATTRIBUTES[name]:
            digest.update(f"{name}={attributes[name]}\n".encode())
    for path in sorted(set(COLUMNS) - set(DERIVED_COLUMNS)):
        data = columns[path]
        digest.update(f"{path} {COLUMNS[path].dtype} {data.shape}\n".encode())
        for block in _blocks(data):
            digest.update(block)
    return digest.hexdigest()


def _blocks(data: Any) -> Iterator[bytes]:
    """Read a column piece by piece, so that a store need not fit in memory."""
    for start in range(0, len(data), _HASHED_ROWS):
        rows = data[start : start + _HASHED_ROWS]
        yield b"".join(x + b"\0" for x in rows) if rows.dtype.kind in "OS" else rows.tobytes()
