"""What a store holds: one HDF5 file of columns, ragged rows behind offsets.

``objects``: each object once, its surface and convex pieces. ``scenes``: what lies where, in which split.
``views``: camera and points of each view, in blocks by instance, each block in farthest-point order.
``grasps``: triples and verdicts, in order of (scene, object of the scene).
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np

SCHEMA_VERSION = 1
FRAME = "world"
SPLITS = ("train", "val", "test", "test_family")
GRASP_COLUMNS = ("hand_pose", "pregrasp_qpos", "squeeze_qpos")
VERDICT_COLUMNS = (
    "success",
    "direction_success",
    "outcome",
    "penetration_m",
    "self_penetration_m",
    "clearance_m",
    "robustness",
)
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
)


def content_hash(file: h5py.File, attributes: Mapping[str, Any]) -> str:
    """Hash every column of a store and what it was generated from; independent of chunks, workers and times."""
    digest = hashlib.sha256(f"schema {SCHEMA_VERSION}".encode())
    for name in CONTENT_ATTRIBUTES:
        digest.update(f"{name}={attributes[name]}\n".encode())
    for path in sorted(_columns(file)):
        data = file[path][...]
        digest.update(f"{path} {data.dtype.kind} {data.shape}\n".encode())
        digest.update("\0".join(_text(data)).encode() if data.dtype.kind == "O" else data.tobytes())
    return digest.hexdigest()


def offsets(sizes: Iterable[int]) -> np.ndarray:
    """Return where each of consecutive ragged rows starts, and where the last ends."""
    return np.concatenate([[0], np.cumsum(np.fromiter(sizes, dtype=np.int64))]).astype(np.int64)


def _text(data: np.ndarray) -> list[str]:
    return [x.decode() if isinstance(x, bytes) else str(x) for x in data]


def _columns(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda path, node: found.append(path) if isinstance(node, h5py.Dataset) else None)
    return found
