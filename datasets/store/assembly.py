"""How the parts of a store become columns: scene after scene, so that a store need not fit in memory."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from sceneleapultra.datasets.store.schema import (
    COLUMNS,
    DERIVED_COLUMNS,
    GRASP_COLUMNS,
    VERDICT_COLUMNS,
    VIEW_COLUMNS,
)

_CHUNK_ROWS = 1024
_PENDING_BYTES = 1 << 22


class Assembly:
    """Appends scenes to the columns of an open file; ``close`` writes what is pending."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._pending: dict[str, list[np.ndarray]] = defaultdict(list)
        self._pending_bytes: dict[str, int] = dict.fromkeys(COLUMNS, 0)
        self._rows: dict[str, int] = dict.fromkeys(COLUMNS, 0)
        self._object_rows: dict[str, tuple[int, bytes]] = {}
        for path in COLUMNS:
            if path.endswith("ptr"):
                self._add(path, [0])

    def append(self, scene: Mapping[str, Any]) -> None:
        """Append one scene, and those of its objects that are new.

        Raises:
            ValueError: an object differs from one of the same name.
        """
        names, num_views = [str(n) for n in scene["names"]], int(scene["num_views"])
        for i, name in enumerate(names):
            self._append_object(scene, i, name)
        for name in ("index", "seed", "split", "table"):
            self._add(f"scenes/{name}", [scene[name]])
        self._add("scenes/object", [self._object_rows[name][0] for name in names])
        self._add("scenes/T_world_object", scene["T_world_object"])
        self._mark("scenes/object_ptr", "scenes/object")
        for i in range(num_views):
            for name in VIEW_COLUMNS:
                rows = scene[f"view{i}/{name}"]
                self._add(f"views/{name}", rows if name in VIEW_COLUMNS[2:] else rows[None])
            self._mark("views/point_ptr", "views/points")
        self._mark("scenes/view_ptr", "views/T_world_cam")
        for i in range(len(names)):
            count = len(scene[f"grasps{i}/success"])
            for name in (*GRASP_COLUMNS, *VERDICT_COLUMNS):
                if (key := f"grasps{i}/{name}") not in scene and f"grasps/{name}" in DERIVED_COLUMNS:
                    self._add(f"grasps/{name}", np.full(count, DERIVED_COLUMNS[f"grasps/{name}"]))
                else:
                    self._add(f"grasps/{name}", scene[key])
            self._mark("grasps/ptr", "grasps/success")

    def close(self) -> None:
        """Write what is pending, empty columns included."""
        for path in COLUMNS:
            if self._pending[path] or path not in self._file:
                self._write(path)

    def _append_object(self, scene: Mapping[str, Any], i: int, name: str) -> None:
        arrays = {
            key: scene[f"object{i}/{key}"]
            for key in ("vertices", "faces", "piece_sizes", "piece_vertices", "mass")
        }
        shape = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())).digest()
        row, known = self._object_rows.setdefault(name, (len(self._object_rows), shape))
        if known != shape:
            raise ValueError(
                f"Scene {scene['index']} has an object '{name}' that differs from the one of that name in an earlier "
                "scene. Give different objects different names."
            )
        if row < self._rows["objects/name"]:
            return
        self._add("objects/name", [name])
        self._add("objects/family", [str(scene["families"][i])])
        self._add("objects/mass", [arrays["mass"]])
        for key in ("vertices", "faces", "piece_sizes"):
            self._add(f"objects/{key}", arrays[key])
            self._mark(f"objects/{key}_ptr", f"objects/{key}")
        self._add("objects/piece_vertices", arrays["piece_vertices"])
        # Scenes that were written before parts had names lack it.
        self._add(
            "objects/piece_part", scene.get(f"object{i}/piece_part", np.zeros(len(arrays["piece_sizes"])))
        )

    def _mark(self, pointer: str, column: str) -> None:
        self._add(pointer, [self._rows[column]])

    def _add(self, path: str, rows: Any) -> None:
        dtype = COLUMNS[path].dtype
        values = np.asarray(rows, dtype=object if dtype == "text" else dtype)
        if dtype == "text":
            values = np.array([str(v) for v in values], dtype=object)
        self._pending[path].append(values)
        self._rows[path] += len(values)
        self._pending_bytes[path] += values.nbytes
        if self._pending_bytes[path] > _PENDING_BYTES:
            self._write(path)

    def _write(self, path: str) -> None:
        """Move the pending rows of a column to the file."""
        column, pending = COLUMNS[path], self._pending.pop(path, [])
        self._pending_bytes[path] = 0
        text = column.dtype == "text"
        rows = np.concatenate(pending) if pending else np.zeros((0, *(max(0, w) for w in column.row)), "f4")
        if path not in self._file:
            self._file.create_dataset(
                path,
                shape=(0, *rows.shape[1:]),
                maxshape=(None, *rows.shape[1:]),
                dtype=h5py.string_dtype() if text else column.dtype,
                chunks=(_CHUNK_ROWS, *rows.shape[1:]),
            )
        data = self._file[path]
        start = len(data)
        data.resize(start + len(rows), axis=0)
        data[start:] = rows
