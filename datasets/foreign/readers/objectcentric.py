"""How the predecessor's object-centric grasps are read: one file of grasps per object, its mesh, no camera.

    grasps/{code}.npy    {grasp_qpos (n, 23), obj_pose (7)}: [m, quaternion wxyz, joints], object on a table at z = 0
    objects/{code}/mesh/simplified.obj

The predecessor sampled the whole surface; here a camera looks at the object, so that a model learns occlusion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.datasets.foreign.readers.base import Claims, GraspFolder, Placed, RawScene, SourceScene
from sceneleapultra.datasets.foreign.readers.bodex import category, mesh_of
from sceneleapultra.datasets.foreign.readers.files import numbers, read_npy
from sceneleapultra.datasets.foreign.readers.frames import (
    DEXGRASPBENCH_BASES,
    check_width,
    inverse,
    rigid,
    stored_base,
    wrist_motion,
)
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import Outcome

_MORE = ("pregrasp_qpos", "squeeze_qpos")


@dataclass(frozen=True, kw_only=True)
class ObjectCentric(GraspFolder):
    """Reads a folder of grasp files; ``config/conversion/objectcentric.yaml`` says what each setting means."""

    mesh_scale: float
    base: Sequence[float] | None

    def index(self, root: Path) -> list[SourceScene]:
        """List the grasp files."""
        files = sorted((root / self.grasps).glob("*.npy"))
        return [SourceScene(path.stem, ((path.stem, category(path.stem)),)) for path in files]

    def columns(self, root: Path) -> set[str]:
        """Look into the first file; the predecessor's hold the grasp only."""
        return set(_MORE) & set(_record(next(iter(sorted((root / self.grasps).glob("*.npy"))))))

    def read(self, root: Path, key: str, hand: Hand) -> RawScene:
        """Read the grasps of one object."""
        path = root / self.grasps / f"{key}.npy"
        record = _record(path)
        # The predecessor's collection may hold all-zero rows behind the last grasp: padding, not grasps.
        grasp = numbers(record, "grasp_qpos", path, ndim=2)
        rows = np.abs(grasp).max(1) > 0
        grasp = grasp[rows]
        check_width(grasp[:, 7:], hand, path)
        T_world_object = rigid(numbers(record, "obj_pose", path, last=7).reshape(-1)[:7], str(path))
        base = stored_base(hand, self.base, DEXGRASPBENCH_BASES)
        others = {
            n: numbers(record, n, path, ndim=2, last=grasp.shape[1])[rows] for n in _MORE if n in record
        }
        claims = Claims(
            T_object_base=inverse(T_world_object) @ rigid(grasp, str(path)) @ base,
            qpos=grasp[:, 7:],
            outcome=np.full(len(grasp), Outcome.CLAIMED, np.uint8),
            wrist_motion=wrist_motion(grasp, others.values(), str(path)),
            **{name: values[:, 7:] for name, values in others.items()},
        )
        mesh = mesh_of(root / self.objects / key)
        return RawScene(
            (Placed(key, category(key), mesh, self.mesh_scale, T_world_object, claims),), True, ()
        )


def _record(path: Path) -> dict[str, Any]:
    record = read_npy(path)
    if not isinstance(record, dict):
        raise ValueError(f"{path}: expected a dictionary of arrays, got {type(record).__name__}.")
    return record
