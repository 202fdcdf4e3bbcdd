"""How MultiDex is read in DexGrasp Anything's form: one .pt of all grasps, meshes beside.

    grasps.pt    {info, metadata: [...]}, each entry
                 (qpos [t 3, rotation 6, joints], object_rot 3x3, object): hand upright at t, the object turned
                 or {object_name, translations, rotations, joint_positions, scale}: hand rotations (x + translations)
    objects/{set}/{name}/{name}.stl for an object called "set+name"

In both the hand in the object's frame has rotation R (object_rot transposed, or rotations) and translation R t.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.datasets.foreign.readers.base import Claims, GraspFolder, Placed, RawScene, SourceScene
from sceneleapultra.datasets.foreign.readers.files import below
from sceneleapultra.datasets.foreign.readers.frames import check_width, joined, joint_order, stored_base
from sceneleapultra.hands import Hand
from sceneleapultra.utils.core.torch_files import read_torch
from sceneleapultra.utils.records import Outcome

_SUFFIXES = (".stl", ".obj", ".ply")


@dataclass(frozen=True)
class _Grasp:
    name: str
    scale: float
    R: np.ndarray
    t: np.ndarray  # of the hand, in the turned object's frame
    qpos: np.ndarray


@dataclass(frozen=True, kw_only=True)
class MultiDex(GraspFolder):
    """Reads one file of grasps; ``config/conversion/multidex.yaml`` says what each setting means."""

    joint_names: list[str] | None
    base: Sequence[float]

    def index(self, root: Path) -> list[SourceScene]:
        """List every size of every object."""
        keys = sorted({(g.name, g.scale) for g in _grasps(root / self.grasps)})
        return [SourceScene(_key(name, scale), ((name, _category(name)),)) for name, scale in keys]

    def columns(self, root: Path) -> set[str]:
        """The format has the grasp only."""
        return set()

    def read(self, root: Path, key: str, hand: Hand) -> RawScene:
        """Read the grasps of one object of one size."""
        path = root / self.grasps
        found = [g for g in _grasps(path) if _key(g.name, g.scale) == key]
        qpos = np.stack([g.qpos for g in found])
        check_width(qpos, hand, path)
        order = joint_order(self.joint_names or hand.joint_names, hand, path)
        R = np.stack([g.R for g in found])
        if np.abs(R @ np.swapaxes(R, 1, 2) - np.eye(3)).max() > 1e-3:
            raise ValueError(f"{path}: an entry of '{found[0].name}' has a matrix that is no rotation.")
        t = (R @ np.stack([g.t for g in found])[..., None])[..., 0]
        claims = Claims(
            T_object_base=joined(R, t) @ stored_base(hand, self.base, {}),
            qpos=qpos[:, order],
            outcome=np.full(len(found), Outcome.CLAIMED, np.uint8),
        )
        name, scale = found[0].name, found[0].scale
        mesh = _mesh(root / self.objects, name)
        return RawScene((Placed(key, _category(name), mesh, scale, np.eye(4), claims),), False, ())


def _key(name: str, scale: float) -> str:
    return name if scale == 1.0 else f"{name}@{scale:g}"


def _category(name: str) -> str:
    """Return the last part of an object's name without a number: contactdb+cube_large is a cube_large."""
    return name.split("+")[-1].rstrip("0123456789_-") or name


def _mesh(folder: Path, name: str) -> Path:
    parts = name.split("+")
    paths = [below(folder, "/".join((*parts, f"{parts[-1]}{suffix}"))) for suffix in _SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


@lru_cache(maxsize=1)
def _grasps(path: Path) -> tuple[_Grasp, ...]:
    content = read_torch(path)
    if not isinstance(content, dict) or "metadata" not in content:
        raise ValueError(f"{path}: expected {{info, metadata}}, got {type(content).__name__}.")
    return tuple(_grasp(entry, path) for entry in content["metadata"])


def _grasp(entry: Any, path: Path) -> _Grasp:
    if isinstance(entry, dict):
        needed = {"object_name", "translations", "rotations", "joint_positions"}
        if missing := needed - set(entry):
            raise ValueError(f"{path}: an entry has no {', '.join(sorted(missing))}.")
        arrays = (
            np.asarray(entry[k], dtype=np.float64) for k in ("rotations", "translations", "joint_positions")
        )
        return _Grasp(str(entry["object_name"]), float(entry.get("scale", 1.0)), *arrays)
    if len(entry) < 3:
        raise ValueError(f"{path}: expected entries (qpos, object_rot, object), got {len(entry)} values.")
    qpos, rotation = (np.asarray(values, dtype=np.float64) for values in entry[:2])
    return _Grasp(str(entry[2]), 1.0, rotation.T, qpos[:3], qpos[9:])
