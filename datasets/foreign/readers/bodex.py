"""How grasps of BODex, DexGraspBench and Dexonomy are read: dictionaries in .npy files, objects in folders.

- DexGraspBench: one grasp per file, all files of a folder are of one object, size and pose:
  obj_path, obj_scale, obj_pose (7), {pregrasp,grasp,squeeze}_qpos (7 + J). The base is that of its MJCF.
- the same with a leading axis of n grasps per file (Dexonomy; a pre-grasp may have several way-points).
- BODex itself: robot_pose (1, n, 3, 7 + J), obj_pose and obj_scale with a leading axis, joint_names; URDF's palm.

Poses are [m, quaternion wxyz]. A triple shares one wrist here, that of the grasp; how far that of the others is from it
is measured (``Claims.wrist_motion``), and grasps that move further than the converter allows are left out.
Objects: <objects>/<last part of obj_path>/mesh/simplified.obj and urdf/meshes/convex_piece_*.obj.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.datasets.foreign.readers.base import Claims, GraspFolder, Placed, RawScene, SourceScene
from sceneleapultra.datasets.foreign.readers.files import below, numbers, read_npy
from sceneleapultra.datasets.foreign.readers.frames import (
    DEXGRASPBENCH_BASES,
    check_width,
    inverse,
    joint_order,
    rigid,
    stored_base,
    wrist_motion,
)
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import Outcome

_TRIPLE = ("pregrasp_qpos", "grasp_qpos", "squeeze_qpos")


@dataclass(frozen=True, kw_only=True)
class BODex(GraspFolder):
    """Reads a folder of grasp files; ``config/conversion/bodex.yaml`` says what each setting means."""

    table: bool
    base: Sequence[float] | None

    def index(self, root: Path) -> list[SourceScene]:
        """List files of several grasps, and folders of files of one; reads the first file of each folder."""
        folders: dict[Path, list[Path]] = {}
        for path in sorted((root / self.grasps).rglob("*.npy")):
            folders.setdefault(path.parent, []).append(path)
        entries = []
        for folder, files in folders.items():
            single = np.ndim(_record(files[0]).get("grasp_qpos", ())) == 1 and "robot_pose" not in _record(
                files[0]
            )
            for path in [folder] if single else files:
                first = files[0] if single else path
                name = _object(_record(first), first).name
                entries.append(SourceScene(str(path.relative_to(root)), ((name, category(name)),)))
        return sorted(entries, key=lambda e: e.key)

    def columns(self, root: Path) -> set[str]:
        """Look into the first file."""
        record = _record(next(iter(sorted((root / self.grasps).rglob("*.npy")))))
        return {n for n in ("pregrasp_qpos", "squeeze_qpos") if n in record or "robot_pose" in record}

    def read(self, root: Path, key: str, hand: Hand) -> RawScene:
        """Read the grasps of one object in one pose."""
        path = root / key
        files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
        records = [_record(file) for file in files]
        pose, scale, where = _placement(records, files)
        T_world_object = rigid(pose, key)
        parts = [self._claims(r, f, hand, T_world_object) for r, f in zip(records, files, strict=True)]
        columns = {
            name: _joined([getattr(part, name) for part in parts], name, key)
            for name in Claims.__dataclass_fields__
        }
        claims = Claims(**columns)  # type: ignore[arg-type]
        name = where.name if scale == 1.0 else f"{where.name}@{scale:g}"
        placed = Placed(
            name,
            category(where.name),
            mesh_of(below(root / self.objects, where.name)),
            scale,
            T_world_object,
            claims,
        )
        return RawScene((placed,), self.table, ())

    def _claims(
        self, record: Mapping[str, Any], path: Path, hand: Hand, T_world_object: Float[np.ndarray, "4 4"]
    ) -> Claims:
        raw = "robot_pose" in record
        if raw:
            poses = numbers(record, "robot_pose", path, ndim=4)
            if poses.shape[0] != 1 or poses.shape[2] != 3:
                raise ValueError(
                    f"{path}: robot_pose has shape {poses.shape}, expected (1, n, 3, 7 + joints): pre-grasp, grasp "
                    "and squeeze of a free hand. Motions of an arm are not read."
                )
            found = dict(zip(_TRIPLE, np.moveaxis(poses[0], 1, 0), strict=True))
        else:
            found = {name: numbers(record, name, path) for name in _TRIPLE if name in record}
        grasp = np.atleast_2d(found["grasp_qpos"])
        order = np.arange(grasp.shape[1] - 7)
        if "joint_names" in record:
            order = joint_order([str(n) for n in record["joint_names"]], hand, path)
        check_width(grasp[:, 7:], hand, path)
        base = np.eye(4) if raw and self.base is None else stored_base(hand, self.base, DEXGRASPBENCH_BASES)
        held = np.ones(len(grasp), bool)
        if "succ_flag" in record:
            held = np.atleast_1d(np.asarray(record["succ_flag"])).astype(bool)
        others = {n: _last_waypoint(v, len(grasp), path) for n, v in found.items() if n != "grasp_qpos"}
        return Claims(
            T_object_base=inverse(T_world_object) @ rigid(grasp, str(path)) @ base,
            qpos=grasp[:, 7:][:, order],
            outcome=np.where(held, Outcome.CLAIMED, Outcome.SLIPPED).astype(np.uint8),
            wrist_motion=wrist_motion(grasp, others.values(), str(path)),
            **{name: values[:, 7:][:, order] for name, values in others.items()},
        )


def mesh_of(folder: Path) -> Path:
    """Return the folder of an object that has convex pieces, or its mesh."""
    return folder if (folder / "urdf/meshes").is_dir() else folder / "mesh/simplified.obj"


def category(name: str) -> str:
    """Return the category in an object's name: core-bottle-<hash>, sem-Bottle-<hash>, bottle_<uid>."""
    parts = name.split("-")
    if len(parts) >= 3 and parts[0] in ("core", "sem", "mujoco", "ddg"):
        return parts[1].lower()
    return name.rsplit("_", 1)[0].rsplit("-", 1)[0].lower()


def _record(path: Path) -> dict[str, Any]:
    record = read_npy(path)
    if not isinstance(record, dict) or not {"grasp_qpos", "robot_pose"} & set(record):
        held = ", ".join(sorted(map(str, record))[:5]) if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"{path}: expected a dictionary with grasp_qpos or robot_pose, got {held}.")
    return record


def _object(record: Mapping[str, Any], path: Path) -> Path:
    """Return obj_path, whose last part names the object; BODex itself names it by the folder."""
    if "obj_path" in record:
        return Path(str(record["obj_path"]))
    if "robot_pose" in record:
        return path.parent
    raise ValueError(f"{path} has no 'obj_path', so its object is unknown.")


def _placement(
    records: Sequence[Mapping[str, Any]], files: Sequence[Path]
) -> tuple[Float[np.ndarray, "7"], float, Path]:
    """Return pose, size and path of the object, the same in all records.

    Raises:
        ValueError: they differ.
    """
    found = []
    for record, path in zip(records, files, strict=True):
        pose = numbers(record, "obj_pose", path, last=7).reshape(-1, 7)
        scale = numbers(record, "obj_scale", path).reshape(-1)
        if np.ptp(pose, axis=0).max() > 1e-6 or np.ptp(scale) > 1e-6 * scale.max():
            raise ValueError(f"{path}: grasps of objects of several poses or sizes in one file are not read.")
        found.append((pose[0], float(scale[0]), _object(record, path)))
    first_pose, first_scale, first_object = found[0]
    for (one, size, where), path in zip(found, files, strict=True):
        if np.abs(one - first_pose).max() > 1e-6 or size != first_scale or where.name != first_object.name:
            raise ValueError(
                f"{path} is of another object, size or pose than {files[0].name} in the same folder. Keep each "
                "combination in a folder of its own."
            )
    return found[0]


def _last_waypoint(values: np.ndarray, count: int, path: Path) -> Float[np.ndarray, "n p"]:
    """Return one row per grasp: of several way-points the last, which is nearest to the grasp."""
    if values.ndim == 1:
        return values[None]
    if values.ndim == 2 and len(values) == count:
        return values
    if values.ndim == 3 and len(values) == count:
        return values[:, -1]
    if values.ndim == 2 and count == 1:
        return values[-1:]
    raise ValueError(f"{path}: {values.shape} way-points for {count} grasps.")


def _joined(parts: Sequence[np.ndarray | None], name: str, key: str) -> np.ndarray | None:
    there = [part for part in parts if part is not None]
    if there and len(there) != len(parts):
        raise ValueError(f"{key}: some of its files have {name}, some have not.")
    return np.concatenate(there) if there else None
