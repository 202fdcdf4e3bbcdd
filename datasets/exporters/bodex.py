"""How a store is written as DexGraspBench reads grasps: one .npy per object of a scene, all its grasps in it.

The format knows one object per record: neighbours and views stay behind.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from datasets.exporters.common import as_vector, foreign_poses, new_folder, write_object
from datasets.store import GraspStore
from hands import Hand


def export_bodex(store: GraspStore, hand: Hand, dest: Path, progress: Callable[[int], None]) -> None:
    """Write ``dest/grasps/<object>/scene_<index>.npy`` and ``dest/objects``; ``progress`` is told scenes done.

    Raises:
        FileExistsError: ``dest`` is not empty.
        ValueError: a hand whose base in this format is not known.
    """
    new_folder(dest)
    for row in range(store.num_objects):
        write_object(dest / "objects" / store.object_names[row], store.object(row), 1.0)
    for row in range(store.num_scenes):
        record = store.record(row)
        for i, (entry, judged) in enumerate(zip(record.scene.objects, record.judged, strict=True)):
            if len(judged.grasps) == 0:
                continue
            values = {
                "obj_path": f"objects/{entry.name}",
                "obj_scale": 1.0,
                "obj_pose": as_vector(record.scene.T_world_object[i]),
                **foreign_poses(judged.grasps, hand, np.eye(4)),
                "joint_names": list(hand.joint_names),
                "succ_flag": judged.success,
            }
            path = dest / "grasps" / entry.name / f"scene_{record.index:06d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values)  # type: ignore[arg-type]
        progress(row + 1)
