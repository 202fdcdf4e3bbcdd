"""What grasp poses of a data set look like in each coordinate mode: robust ranges of every number a network may see.

Measured on training batches as they are served, augmentation included, so that no augmented pose leaves the range.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hands import GraspPose
from utils.batch import GraspBatch

PERCENTILES = (0.5, 99.5)  # a stray grasp does not stretch the range


def labels(joint_names: Sequence[str]) -> list[str]:
    """Name the numbers of a packed pose: translation, joints, the first two rows of the rotation."""
    names = [f"translation_{axis}" for axis in "xyz"] + [f"joint_{name}" for name in joint_names]
    return names + [f"rot6d_{i}" for i in range(6)]


def packed_successes(batches: Iterable[GraspBatch]) -> Float[np.ndarray, "n d"]:
    """Collect the successful grasps of batches, in the frames of their items.

    Raises:
        ValueError: there are none.
    """
    rows = []
    for batch in batches:
        assert (
            batch.hand_pose is not None and batch.grasp_valid is not None and batch.grasp_success is not None
        )
        pose = GraspPose.from_hand_pose(batch.hand_pose[batch.grasp_valid & batch.grasp_success])
        rows.append(pose.pack().double().numpy())
    found = np.concatenate(rows) if rows else np.zeros((0, 0))
    if len(found) == 0:
        raise ValueError("There is no successful grasp to measure statistics of: is the store empty?")
    return found


def describe(values: Float[np.ndarray, "n d"], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return of each number its robust range, extremes, mean and standard deviation."""
    low, high = np.percentile(values, PERCENTILES, axis=0)
    columns = {"low": low, "high": high, "min": values.min(0), "max": values.max(0)}
    columns |= {"mean": values.mean(0), "std": values.std(0)}
    return {name: {key: float(column[i]) for key, column in columns.items()} for i, name in enumerate(names)}


def write_statistics(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document with its own hash."""
    content = dict(document)
    path.write_text(json.dumps({**content, "hash": _hash(content)}, indent=1) + "\n")


def read_statistics(path: Path, *, data_hash: str, mode: str) -> dict[str, dict[str, float]]:
    """Return the statistics of a mode, for the data they are to be used with.

    Raises:
        FileNotFoundError: no such file.
        ValueError: changed by hand, or of other data, or without this mode.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No statistics at {path}. Make them with: python scripts/compute_statistics.py"
        )
    content = json.loads(path.read_text())
    if content.pop("hash", None) != _hash(content):
        raise ValueError(f"{path} was changed after it was written: its hash differs. Compute it again.")
    if content["data_hash"] != data_hash:
        raise ValueError(
            f"{path} describes data {content['data_hash'][:12]}, asked for are those of {data_hash[:12]}. Compute it "
            "again for this store."
        )
    if mode not in content["modes"]:
        raise ValueError(
            f"{path} has modes {', '.join(content['modes'])}, not '{mode}'. Compute it for this mode."
        )
    return content["modes"][mode]["numbers"]


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
