"""How the predecessor's HDF5 caches are read: one group per item, everything in the camera's frame.

    *_camera_centric_*.h5    /<idx>/{scene_pc (N, 6), object_mask (N), hand_model_pose (G, 23) or (23), obj_verts,
                              obj_faces, obj_code (not in caches for training), is_error}

hand_model_pose is [m, joints 16, quaternion wxyz] of the palm; all-zero rows are padding, as are all-zero points. A
cloud comes again for every chunk of an object's grasps: such items are one scene here. The table is found in the cloud.
Caches of other modes are refused: they do not say where the camera was.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float

from sceneleapultra.datasets.foreign.readers import frames
from sceneleapultra.datasets.foreign.readers.base import Claims, MeshSurface, Placed, RawScene, SourceScene
from sceneleapultra.datasets.foreign.readers.bodex import category
from sceneleapultra.datasets.store.hdf5 import explain, open_file
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import Outcome, View

_NEEDED = ("scene_pc", "object_mask", "hand_model_pose", "obj_verts", "obj_faces")


@dataclass(frozen=True, kw_only=True)
class SceneLeapCache:
    """Reads a folder of caches, or one; ``config/conversion/sceneleapcache.yaml`` says what each setting means."""

    name: str
    base: Sequence[float]

    def places(self, root: Path) -> list[Path]:
        """The caches."""
        return _caches(root)

    def index(self, root: Path) -> list[SourceScene]:
        """List every cloud of every file; reads all of them once."""
        entries = []
        for path in _caches(root):
            if any(word in path.name for word in ("mean_normalized", "object_centric")):
                raise ValueError(
                    f"{path} is a cache in a frame whose offset to the camera the predecessor did not store. Convert "
                    "the raw folder instead (--format sceneleapplus), or a cache of camera_centric."
                )
            within = str(path.relative_to(root)) if root.is_dir() else ""
            for groups, code in _catalog(path).clouds.items():
                entries.append(SourceScene(f"{within}#{groups}", ((code, category(code)),)))
        return sorted(entries, key=lambda e: e.key)

    def columns(self, root: Path) -> set[str]:
        """The format has the grasp only."""
        return set()

    def read(self, root: Path, key: str, hand: Hand) -> RawScene:
        """Read all items of one cloud."""
        name, groups = key.rsplit("#", 1)
        path = root / name if name else root
        with _opened(path) as file:
            items = [_item(_member(file, group), path) for group in groups.split("+")]
        first, code = items[0], _catalog(path).clouds[groups]
        measured = np.abs(first["scene_pc"][:, :3]).max(1) > 0
        cloud, on_object = first["scene_pc"][measured], first["object_mask"][measured].astype(bool)
        xyz = cloud[:, :3].astype(np.float64)
        T_world_cam = frames.table_plane(xyz[~on_object], key)
        rows = np.concatenate([np.atleast_2d(item["hand_model_pose"]) for item in items]).astype(np.float64)
        rows = rows[np.abs(rows).max(1) > 0]
        rows = rows[
            np.sort(np.unique(rows, axis=0, return_index=True)[1])
        ]  # an object short of grasps repeats them
        frames.check_width(rows[:, 3:-4], hand, path)
        poses = frames.rigid(np.concatenate([rows[:, :3], rows[:, -4:]], axis=1), str(path))
        shape = _catalog(path).shapes[code]
        T_cam_object = _moved_by(shape[0], first["obj_verts"].astype(np.float64), f"{path}, object '{code}'")
        claims = Claims(
            T_object_base=frames.inverse(T_cam_object) @ poses @ frames.stored_base(hand, self.base, {}),
            qpos=rows[:, 3:-4],
            outcome=np.full(len(rows), Outcome.CLAIMED, np.uint8),
        )
        placed = Placed(code, category(code), shape, 1.0, T_world_cam @ T_cam_object, claims)
        world = (xyz @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]).astype(np.float32)
        rgb = np.full((len(xyz), 3), 128, np.uint8)
        if cloud.shape[1] >= 6:
            rgb = np.rint(255 * cloud[:, 3:6].clip(0, 1)).astype(np.uint8)
        view = View(T_world_cam, np.eye(3), world, rgb, on_object.astype(np.uint8))
        return RawScene((placed,), True, (view,))


def _caches(root: Path) -> list[Path]:
    return [root] if root.is_file() else sorted(root.rglob("*.h5"))


def _moved_by(
    before: Float[np.ndarray, "v 3"], after: Float[np.ndarray, "v 3"], where: str
) -> Float[np.ndarray, "4 4"]:
    """Return the motion that took the vertices of an object from one item to another (Kabsch 1976)."""
    if before.shape != after.shape:
        raise ValueError(
            f"{where}: {len(after)} vertices here, {len(before)} in an earlier item. Different meshes?"
        )
    a, b = before - before.mean(0), after - after.mean(0)
    u, _, vt = np.linalg.svd(b.T @ a)
    R = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    if (off := float(np.abs(a @ R.T - b).max())) > 1e-3:
        raise ValueError(
            f"{where}: its vertices are not those of an earlier item, moved ({1e3 * off:.0f} mm off)."
        )
    return frames.joined(R, after.mean(0) - R @ before.mean(0))


def _opened(path: Path) -> h5py.File:
    try:
        return open_file(path)
    except OSError as error:
        raise ValueError(explain(path, error)) from error


def _item(group: h5py.Group, path: Path) -> dict[str, np.ndarray]:
    if missing := [name for name in _NEEDED if name not in group]:
        raise ValueError(
            f"{path}, item {group.name}: no {', '.join(missing)} in this cache, so its grasps cannot be placed on an "
            "object. Convert the raw folder instead: --format sceneleappro."
        )
    return {name: _member(group, name)[...] for name in _NEEDED}


def _member(group: h5py.Group, name: str) -> Any:
    """Return a part of a file that lies in the file itself.

    Raises:
        ValueError: it is a link, or takes its values from other files.
    """
    plain = isinstance(group.get(name, getlink=True), h5py.HardLink)
    found = group[name] if plain else None
    if not plain or (isinstance(found, h5py.Dataset) and (found.is_virtual or found.external)):
        raise ValueError(
            f"{group.file.filename}: {group.name.rstrip('/')}/{name} lies elsewhere than in this file, which is not "
            "followed. Ask whoever made it for one file with all its data."
        )
    return found


def _groups(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    for name in sorted(file, key=lambda n: (len(n), n)):
        group = _member(file, name)
        if isinstance(group, h5py.Group) and not bool(np.asarray(group.get("is_error", False))):
            yield name, group


@dataclass(frozen=True)
class _Catalog:
    """What is in a cache: the items of each cloud (joined by +) with their object, and each object's first mesh."""

    clouds: dict[str, str]
    shapes: dict[str, MeshSurface]


@lru_cache(maxsize=8)
def _catalog(path: Path) -> _Catalog:
    found: dict[str, tuple[list[str], str]] = {}
    shapes: dict[str, MeshSurface] = {}
    with _opened(path) as file:
        for name, group in _groups(file):
            item = _item(group, path)
            digest = hashlib.sha256(item["scene_pc"].tobytes() + item["obj_verts"].tobytes()).hexdigest()
            faces = hashlib.sha256(item["obj_faces"].tobytes()).hexdigest()[:8]
            code = _member(group, "obj_code")[()].decode() if "obj_code" in group else f"object_{faces}"
            found.setdefault(digest, ([], code))[0].append(name)
            mesh = item["obj_verts"].astype(np.float64), item["obj_faces"].astype(np.int64)
            shapes.setdefault(code, mesh)
    return _Catalog({"+".join(names): code for names, code in found.values()}, shapes)
