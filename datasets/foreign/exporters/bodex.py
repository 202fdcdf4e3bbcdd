"""How a store is written as DexGraspBench reads grasps: one .npy per object of a scene, all its grasps in it.

The format knows one object per record: neighbors and views stay behind, and so do objects that rest on others, which
would hang in the air alone.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sceneleapultra.datasets.foreign.exporters.common import (
    as_vector,
    foreign_poses,
    new_folder,
    write_object,
)
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.hands import Hand

_LOG = logging.getLogger(__name__)
_ON_TABLE_M = 0.015


def export_bodex(store: GraspStore, hand: Hand, dest: Path, progress: Callable[[int], None]) -> None:
    """Write ``dest/grasps/<object>/scene_<index>.npy`` and ``dest/objects``; ``progress`` is told scenes done.

    Raises:
        FileExistsError: ``dest`` is not empty.
        ValueError: a hand whose base in this format is not known.
    """
    new_folder(dest)
    for row in range(store.num_objects):
        write_object(dest / "objects" / store.object_names[row], store.object(row), 1.0)
    resting_on_others = 0
    for row in range(store.num_scenes):
        record = store.record(row)
        for i, (entry, labeled) in enumerate(zip(record.scene.objects, record.labeled, strict=True)):
            if len(labeled.grasps) == 0:
                continue
            T = record.scene.T_world_object[i]
            if record.scene.table and (entry.vertices @ T[2, :3] + T[2, 3]).min() > _ON_TABLE_M:
                resting_on_others += 1
                continue
            values = {
                "obj_path": f"objects/{entry.name}",
                "obj_scale": 1.0,
                "obj_pose": as_vector(T),
                **foreign_poses(labeled.grasps, hand, np.eye(4)),
                "joint_names": list(hand.joint_names),
                "succ_flag": labeled.success,
            }
            path = dest / "grasps" / entry.name / f"scene_{record.index:06d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values)  # type: ignore[arg-type]
        progress(row + 1)
    if resting_on_others:
        _LOG.info("%d objects that rest on others were left out.", resting_on_others)
