"""How DexGraspNet is read: per object an .npy list of dictionaries with named joints, meshes of unit size.

    grasps/{code}.npy    [{qpos: {WRJTx.., WRJRx.., <joint>..}, scale}]: object frame, m, rad
    objects/{code}/coacd/decomposed.obj and coacd_convex_piece_*.obj

The wrist's rotation is R = Rz Ry Rx of the three angles (static axes), its translation in the object's frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from sceneleapultra.datasets.foreign.readers.base import Claims, GraspFolder, Placed, RawScene, SourceScene
from sceneleapultra.datasets.foreign.readers.bodex import category
from sceneleapultra.datasets.foreign.readers.files import read_npy
from sceneleapultra.datasets.foreign.readers.frames import joined, joint_order, stored_base
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import Outcome

_WRIST = ("WRJTx", "WRJTy", "WRJTz", "WRJRx", "WRJRy", "WRJRz")


@dataclass(frozen=True, kw_only=True)
class DexGraspNet(GraspFolder):
    """Reads a folder of grasp files; ``config/conversion/dexgraspnet.yaml`` says what each setting means."""

    base: Sequence[float]

    def index(self, root: Path) -> list[SourceScene]:
        """List every size of every object; reads all files."""
        entries = []
        for path in sorted((root / self.grasps).glob("*.npy")):
            scales = sorted({float(r["scale"]) for r in _records(path)})
            name = path.stem
            entries += [SourceScene(f"{name}@{scale:g}", ((name, category(name)),)) for scale in scales]
        return entries

    def columns(self, root: Path) -> set[str]:
        """The format has the grasp only."""
        return set()

    def read(self, root: Path, key: str, hand: Hand) -> RawScene:
        """Read the grasps of one object of one size."""
        code, size = key.rsplit("@", 1)
        path = root / self.grasps / f"{code}.npy"
        records = [r for r in _records(path) if f"{float(r['scale']):g}" == size]
        names = sorted(set(records[0]["qpos"]) - set(_WRIST))
        order = joint_order(names, hand, path)
        values = np.array([[float(r["qpos"][n]) for n in (*_WRIST, *names)] for r in records])
        if not np.isfinite(values).all():
            raise ValueError(f"{path}: joints that are not finite.")
        R = Rotation.from_euler("xyz", values[:, 3:6]).as_matrix()  # lower case: static axes
        claims = Claims(
            T_object_base=joined(R, values[:, :3]) @ stored_base(hand, self.base, {}),
            qpos=values[:, 6:][:, order],
            outcome=np.full(len(records), Outcome.CLAIMED, np.uint8),
        )
        folder = root / self.objects / code
        mesh = folder if (folder / "coacd").is_dir() else folder / "coacd/decomposed.obj"
        placed = Placed(key, category(code), mesh, float(records[0]["scale"]), np.eye(4), claims)
        return RawScene((placed,), False, ())


def _records(path: Path) -> list[dict[str, Any]]:
    found = read_npy(path)
    records = list(found) if isinstance(found, np.ndarray | list) else [found]
    for record in records:
        if not isinstance(record, dict) or not {"qpos", "scale"} <= set(record):
            raise ValueError(f"{path}: expected a list of dictionaries with qpos and scale.")
        if missing := set(_WRIST) - set(record["qpos"]):
            raise ValueError(
                f"{path}: a qpos has no {', '.join(sorted(missing))}; it names {len(record['qpos'])} joints."
            )
    return records
