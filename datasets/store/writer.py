"""How a store is written: one part per scene while generation runs, one file at the end, nothing half done."""

import contextlib
import json
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sceneleapultra.datasets.store.assembly import Assembly
from sceneleapultra.datasets.store.checks import record_problems
from sceneleapultra.datasets.store.layout import read_source, repack, write_source
from sceneleapultra.datasets.store.pieces import note_wanted
from sceneleapultra.datasets.store.schema import (
    CONTENT_ATTRIBUTES,
    GENERATED,
    GRASP_COLUMNS,
    SCHEMA_VERSION,
    STORE_FRAME,
    UNITS,
    VERDICT_COLUMNS,
    VIEW_COLUMNS,
    Origin,
    content_hash,
    parts_folder,
)
from sceneleapultra.datasets.store.shard import Shard
from sceneleapultra.datasets.store.written_file import written_hdf5
from sceneleapultra.hands import Hand
from sceneleapultra.utils.core.compare import differences
from sceneleapultra.utils.core.files import flush, read_json_object, write_atomically
from sceneleapultra.utils.core.locks import owned_lock
from sceneleapultra.utils.core.npz import read_npz
from sceneleapultra.utils.records import SceneRecord

_log = logging.getLogger(__name__)


class StoreWriter:
    """Collects the scenes of one generation run; killed at any moment, it continues where it was.

    What is in the finished store depends on the records alone, not on the order or the runs in which they came. A store
    that is finished already, with the same settings and of the same source, is what ``finish`` returns.

    Args:
        path: the file that ``finish`` makes.
        hand: whose grasps these are.
        protocol: name of the protocol that labeled them.
        protocol_hash: its hash.
        generator: everything the content depends on, as plain containers.
        seed: of the generation.
        origin: where the grasps and their verdicts come from.
        source: which files a conversion reads, as text; kept beside the content, not part of it.

    Raises:
        FileExistsError: there is a store of another configuration, or of another source.
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
        origin: Origin = GENERATED,
        source: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.parts = parts_folder(self.path)
        self._num_joints = hand.num_joints
        self.attributes: dict[str, Any] = {
            "hand_name": hand.name,
            "joint_names": json.dumps(list(hand.joint_names)),
            "hand_hash": hand.table_hash,
            "protocol": protocol,
            "protocol_hash": protocol_hash,
            "generator": json.dumps(dict(generator), sort_keys=True),
            "seed": seed,
            "origin": origin.to_json(),
        }
        self._absent = {name for name in GRASP_COLUMNS[1:] if getattr(origin, name) == "absent"}
        assert set(self.attributes) == set(CONTENT_ATTRIBUTES)
        self._existing = Shard(self.path) if self.path.exists() else None
        if self._existing is not None:
            self._check_existing(self._existing, source)
            return
        self.parts.mkdir(parents=True, exist_ok=True)
        manifest = self.parts / "manifest.json"
        text = json.dumps(self.attributes, sort_keys=True, indent=1)
        if manifest.exists():
            begun = read_json_object(manifest, f"Remove {self.parts}, and repeat the command.")
            if differing := differences(_parse_generator(begun), _parse_generator(self.attributes)):
                raise ValueError(
                    f"{self.parts} holds scenes of another configuration ({'; '.join(differing)}). Continue with the "
                    "settings it was begun with, or remove it."
                )
        else:
            write_atomically(manifest, lambda temporary: temporary.write_text(text))
        self._source = self.parts / "source.json"
        if source is not None and not self._source.exists():
            write_atomically(self._source, lambda temporary: temporary.write_text(source))
        self._remove_damaged()

    def _remove_damaged(self) -> None:
        """Remove scenes of an earlier start that the disk damaged, so that they are made again."""
        for index in sorted(self.done_indices()):
            try:
                with contextlib.suppress(FileNotFoundError):  # another process has finished the store
                    self._read(index)
            except ValueError as error:
                _log.warning("%s", error)
                self._part(index).unlink(missing_ok=True)

    def _part(self, index: int) -> Path:
        return self.parts / f"{index:08d}.npz"

    def _read(self, index: int) -> dict[str, np.ndarray]:
        return read_npz(self._part(index), f"Scene {index} is made again by the same command.")

    @property
    def was_there(self) -> bool:
        """Whether the store was there when this began."""
        return self._existing is not None

    @property
    def counted(self) -> dict[str, Any]:
        """What the conversion that made a store that was there had to say of itself."""
        assert self._existing is not None
        found: dict[str, Any] = json.loads(self._existing.attributes["counted"])
        return found

    def check_scenes(self, wanted: Collection[int]) -> None:
        """Make sure that a store that was there has the scenes wanted; note them for one that is begun.

        Raises:
            FileExistsError: it has others.
        """
        if self.was_there and (found := self.done_indices()) != set(wanted):
            raise FileExistsError(
                f"{self.path} exists already, with {len(found)} scenes; {len(wanted)} are wanted. Remove it, or name "
                "another path=."
            )
        if not self.was_there:
            note_wanted(self.parts, wanted)

    def _check_existing(self, shard: Shard, source: str | None) -> None:
        """Make sure that a store is what this would write; remove what its writer left behind when it was killed."""
        written = {name: shard.attributes[name] for name in self.attributes}
        differing = differences(_parse_generator(written), _parse_generator(self.attributes))
        if not differing and source is not None and read_source(self.path) != source:
            differing = ["the files it was made of"]
        if differing:
            raise FileExistsError(
                f"{self.path} exists already, of another configuration ({'; '.join(differing)}). Remove it, or name "
                "another path=."
            )
        shutil.rmtree(self.parts, ignore_errors=True)

    @property
    def source(self) -> str:
        """What the run that began this store gave as ``source``."""
        return self._source.read_text()

    def done_indices(self) -> set[int]:
        """Return the scenes that are written already."""
        if self._existing is not None:
            return set(self._existing.columns["scenes/index"].tolist())
        return {int(part.stem) for part in self.parts.glob("*.npz") if part.stem.isdigit()}

    def notes(self) -> Iterator[dict[str, Any]]:
        """Return what was noted of the scenes that are written."""
        for index in sorted(self.done_indices()):
            yield json.loads(str(self._read(index)["note"]))

    def write(self, record: SceneRecord, note: Mapping[str, Any] | None = None) -> None:
        """Write one scene, and a note beside it; it is there completely or not at all.

        Raises:
            ValueError: the record cannot be right, for example a pose is not finite.
        """
        problems = record_problems(record, self._num_joints)
        for name in GRASP_COLUMNS[1:]:
            values = [getattr(labeled.grasps, name) for labeled in record.labeled if len(labeled.grasps)]
            if values and not problems and np.isnan(np.concatenate(values)).any() != (name in self._absent):
                problems.append(
                    f"{name} is {'known' if name in self._absent else 'NaN'}, its origin says otherwise"
                )
        if problems:
            raise ValueError(f"Scene {record.index} is not stored: {'; '.join(problems)}.")
        arrays = {**_flatten(record), "note": json.dumps(dict(note or {}))}

        def save(temporary: Path) -> None:
            with temporary.open("wb") as handle:
                np.savez(handle, **arrays)

        try:
            write_atomically(self._part(record.index), save)
        except FileNotFoundError as error:
            raise self._exists_by_now() from error

    def finish(self, counted: Mapping[str, Any] | None = None) -> Path:
        """Join the parts, in the order of their indices, into the store; return its path.

        ``counted`` is what a conversion has to say of itself; it is kept beside the content. Of several processes one
        joins; the others wait for it and return what it made.

        Raises:
            ValueError: nothing was written, or two objects of one name differ.
        """
        if self.was_there:
            return self.path
        try:
            with owned_lock(self.parts / "lock", doing=f"joining {self.parts}", wait=True):
                if not self.path.exists():
                    self._join(counted)
        except FileNotFoundError as error:
            if not self.path.exists():
                raise self._exists_by_now() from error
        return self.path

    def _join(self, counted: Mapping[str, Any] | None) -> None:
        indices = sorted(self.done_indices())
        if not indices:
            raise ValueError(f"{self.parts} holds no scene; nothing to finish.")
        # Assembled among the parts: what a kill leaves behind is removed with them.
        growing, temporary = self.parts / "growing.h5.tmp", self.parts / "store.h5.tmp"
        with written_hdf5(growing) as file:
            assembly = Assembly(file)
            for index in indices:
                assembly.append(self._read(index))
            assembly.close()
            attributes = {
                **self.attributes,
                "schema_version": SCHEMA_VERSION,
                "frame": STORE_FRAME,
                "units": UNITS,
            }
            attributes["content_hash"] = content_hash(file, attributes)
            if counted is not None:
                attributes["counted"] = json.dumps(dict(counted), sort_keys=True)
            if self._source.exists():
                write_source(file, self.source)
            repack(file, temporary, attributes)
        flush(temporary)
        temporary.replace(self.path)
        shutil.rmtree(self.parts)

    def _exists_by_now(self) -> FileExistsError:
        return FileExistsError(
            f"{self.parts} is gone while this process was writing: another one has finished {self.path}. Use that, or "
            "name another path=."
        )


def _parse_generator(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {**attributes, "generator": json.loads(attributes["generator"])}


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
        if o.piece_part is not None:
            arrays[f"object{i}/piece_part"] = o.piece_part
    for i, view in enumerate(record.views):
        arrays.update({f"view{i}/{name}": getattr(view, name) for name in VIEW_COLUMNS})
    for i, labeled in enumerate(record.labeled):
        arrays.update({f"grasps{i}/{name}": getattr(labeled.grasps, name) for name in GRASP_COLUMNS})
        arrays.update({f"grasps{i}/{name}": getattr(labeled, name) for name in VERDICT_COLUMNS})
    return arrays
