"""How a store is written: a part per scene while generation runs, one file at the end, nothing that loads between."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from datasets.schema import (
    CONTENT_ATTRIBUTES,
    FRAME,
    GRASP_COLUMNS,
    SCHEMA_VERSION,
    VERDICT_COLUMNS,
    VIEW_COLUMNS,
    content_hash,
    offsets,
)
from hands import Hand
from utils.records import SceneRecord


class StoreWriter:
    """Collects the scenes of one generation run; killed at any moment, it continues where it was.

    Args:
        path: the file that ``finish`` makes.
        hand: whose grasps these are.
        protocol: name of the protocol that judged them.
        protocol_hash: its hash.
        generator: everything the content depends on, as plain containers.
        seed: of the generation.

    Raises:
        FileExistsError: the store exists already.
        ValueError: parts of another configuration lie beside the path.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        hand: Hand,
        protocol: str,
        protocol_hash: str,
        generator: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.path = Path(path)
        self.parts = self.path.with_name(f"{self.path.name}.parts")
        self.attributes: dict[str, Any] = {
            "hand_name": hand.name,
            "joint_names": json.dumps(list(hand.joint_names)),
            "hand_hash": hand.table_hash,
            "protocol": protocol,
            "protocol_hash": protocol_hash,
            "generator": json.dumps(dict(generator), sort_keys=True),
            "seed": seed,
        }
        assert set(self.attributes) == set(CONTENT_ATTRIBUTES)
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists already. Remove it, or name another path=.")
        self.parts.mkdir(parents=True, exist_ok=True)
        manifest = self.parts / "manifest.json"
        text = json.dumps(self.attributes, sort_keys=True, indent=1)
        if manifest.exists() and manifest.read_text() != text:
            raise ValueError(
                f"{self.parts} holds scenes of another configuration (see its manifest.json). Continue with the "
                "settings it was begun with, or remove it."
            )
        write_atomically(manifest, lambda temporary: temporary.write_text(text))

    def done_indices(self) -> set[int]:
        """Return the scenes that are written already."""
        return {int(part.stem) for part in self.parts.glob("*.npz") if part.stem.isdigit()}

    def write(self, record: SceneRecord) -> None:
        """Write one scene; it is there completely or not at all."""
        arrays = _flatten(record)

        def save(temporary: Path) -> None:
            with temporary.open("wb") as handle:
                np.savez(handle, **arrays)

        write_atomically(self.parts / f"{record.index:08d}.npz", save)

    def finish(self) -> Path:
        """Join the parts, in the order of their indices, into the store; return its path.

        Raises:
            ValueError: nothing was written.
        """
        indices = sorted(self.done_indices())
        if not indices:
            raise ValueError(f"{self.parts} holds no scene; nothing to finish.")
        records = []
        for index in indices:
            with np.load(self.parts / f"{index:08d}.npz") as part:
                records.append({name: part[name] for name in part.files})
        write_atomically(self.path, lambda temporary: self._assemble(temporary, records))
        shutil.rmtree(self.parts)
        return self.path

    def _assemble(self, path: Path, records: list[dict[str, np.ndarray]]) -> None:
        with h5py.File(path, "w") as file:
            _write_objects(file, records)
            _write_scenes(file, records)
            _write_views(file, records)
            _write_grasps(file, records)
            file.attrs.update(self.attributes)
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["frame"] = FRAME
            file.attrs["units"] = "m rad kg"
            file.attrs["content_hash"] = content_hash(file, self.attributes)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary name beside ``path``, flush it to disk and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _flatten(record: SceneRecord) -> dict[str, Any]:
    """Turn a record into named arrays."""
    arrays: dict[str, Any] = {
        "index": record.index,
        "seed": record.seed,
        "split": record.split,
        "table": record.scene.table,
        "T_world_object": record.scene.T_world_object,
        "num_views": len(record.views),
        "names": np.array([o.name for o in record.scene.objects]),
        "families": np.array([o.family for o in record.scene.objects]),
    }
    for i, o in enumerate(record.scene.objects):
        arrays[f"object{i}/vertices"], arrays[f"object{i}/faces"] = o.vertices, o.faces
        arrays[f"object{i}/piece_sizes"] = np.array([len(piece) for piece in o.pieces])
        arrays[f"object{i}/piece_vertices"] = np.concatenate(o.pieces)
        arrays[f"object{i}/mass"] = o.mass
    for i, view in enumerate(record.views):
        arrays.update({f"view{i}/{name}": getattr(view, name) for name in VIEW_COLUMNS})
    for i, judged in enumerate(record.judged):
        arrays.update({f"grasps{i}/{name}": getattr(judged.grasps, name) for name in GRASP_COLUMNS})
        arrays.update({f"grasps{i}/{name}": getattr(judged, name) for name in VERDICT_COLUMNS})
    return arrays


def _write_objects(file: h5py.File, records: list[dict[str, np.ndarray]]) -> None:
    """Write each object once, in order of first appearance."""
    seen: dict[str, tuple[dict[str, np.ndarray], int]] = {}
    for record in records:
        for i, name in enumerate(record["names"]):
            seen.setdefault(str(name), (record, i))
    rows = list(seen.values())

    def column(name: str) -> list[np.ndarray]:
        return [record[f"object{i}/{name}"] for record, i in rows]

    group = file.create_group("objects")
    group["name"] = np.array(list(seen), dtype=h5py.string_dtype())
    group["family"] = np.array([str(r["families"][i]) for r, i in rows], dtype=h5py.string_dtype())
    group["mass"] = np.array(column("mass"), dtype=np.float64)
    for name, dtype in (("vertices", np.float32), ("faces", np.int32), ("piece_sizes", np.int64)):
        group[f"{name}_ptr"] = offsets(len(x) for x in column(name))
        group[name] = np.concatenate(column(name)).astype(dtype)
    group["piece_vertices"] = np.concatenate(column("piece_vertices")).astype(np.float32)


def _write_scenes(file: h5py.File, records: list[dict[str, np.ndarray]]) -> None:
    names = [name.decode() for name in file["objects/name"][...]]
    row_of = {name: i for i, name in enumerate(names)}
    group = file.create_group("scenes")
    group["index"] = np.array([r["index"] for r in records], dtype=np.int64)
    group["seed"] = np.array([r["seed"] for r in records], dtype=np.int64)
    group["split"] = np.array([str(r["split"]) for r in records], dtype=h5py.string_dtype())
    group["table"] = np.array([r["table"] for r in records], dtype=bool)
    group["object_ptr"] = offsets(len(r["names"]) for r in records)
    group["object"] = np.array([row_of[str(n)] for r in records for n in r["names"]], dtype=np.int64)
    group["T_world_object"] = np.concatenate([r["T_world_object"] for r in records]).astype(np.float64)
    group["view_ptr"] = offsets(int(r["num_views"]) for r in records)


def _write_views(file: h5py.File, records: list[dict[str, np.ndarray]]) -> None:
    def column(name: str) -> list[np.ndarray]:
        return [r[f"view{i}/{name}"] for r in records for i in range(int(r["num_views"]))]

    group = file.create_group("views")
    group["T_world_cam"] = np.array(column("T_world_cam"), dtype=np.float64).reshape(-1, 4, 4)
    group["K"] = np.array(column("K"), dtype=np.float64).reshape(-1, 3, 3)
    group["point_ptr"] = offsets(len(x) for x in column("points"))
    for name, dtype, width in (
        ("points", np.float32, (3,)),
        ("rgb", np.uint8, (3,)),
        ("instance", np.uint8, ()),
    ):
        joined = np.concatenate([np.zeros((0, *width)), *column(name)]).astype(dtype)
        group.create_dataset(
            name, data=joined, chunks=(min(4096, max(1, len(joined))), *width), compression="lzf"
        )


def _write_grasps(file: h5py.File, records: list[dict[str, np.ndarray]]) -> None:
    def column(name: str) -> list[np.ndarray]:
        return [r[f"grasps{i}/{name}"] for r in records for i in range(len(r["names"]))]

    group = file.create_group("grasps")
    group["ptr"] = offsets(len(x) for x in column("success"))
    for name in (*GRASP_COLUMNS, *VERDICT_COLUMNS):
        joined = np.concatenate(column(name))
        group[name] = joined.astype(np.float32) if joined.dtype.kind == "f" else joined
