"""How a store is read: checked when it is opened, opened once per process, every part by index."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from datasets.migration import migrated
from datasets.schema import (
    COLUMNS,
    CONTENT_ATTRIBUTES,
    GRASP_COLUMNS,
    SPLITS,
    VERDICT_COLUMNS,
    Origin,
    content_hash,
    layout_problems,
    parts_folder,
)
from hands import Hand
from utils.names import unknown_name
from utils.records import Grasps, JudgedGrasps, ObjectRecord, Scene, SceneRecord, View

# Read from the file when asked for; everything else is kept in memory.
_SMALL_GRASP_COLUMNS = VERDICT_COLUMNS
_LARGE = (
    *("objects/vertices", "objects/faces", "objects/piece_vertices"),
    *("views/points", "views/rgb", "views/instance"),
    *(f"grasps/{n}" for n in (*GRASP_COLUMNS, *VERDICT_COLUMNS) if n not in _SMALL_GRASP_COLUMNS),
)


@dataclass(frozen=True)
class StoreItem:
    """One target object of one scene under one view; ``index`` counts all items of the store."""

    index: int
    scene: int
    target: int
    view: int


class GraspStore:
    """A finished store.

    Args:
        path: the file.
        hand: the hand it must belong to; None accepts any.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a complete store, of another schema version, or of another hand.
    """

    def __init__(self, path: str | Path, hand: Hand | None = None) -> None:
        self.path = Path(path)
        self._handles: dict[int, h5py.File] = {}
        if not self.path.is_file():
            raise FileNotFoundError(self._missing())
        if not h5py.is_hdf5(self.path):
            raise ValueError(
                f"data.store: {self.path} is no HDF5 file. Pass the store that scripts/generate_dataset.py wrote."
            )
        try:
            with h5py.File(self.path) as file:
                self.attributes: dict[str, Any] = {k: _plain(v) for k, v in file.attrs.items()}
                self._check_layout(file)
                self._tables = {
                    name: file[name].asstr()[...] if column.dtype == "text" else file[name][...]
                    for name, column in COLUMNS.items()
                    if name not in _LARGE
                }
        except OSError as err:
            raise ValueError(
                f"data.store: {self.path} is not a complete store ({err}); was it truncated? Make it again with "
                "scripts/generate_dataset.py."
            ) from err
        if hand is not None:
            self._check_hand(hand)

    def _missing(self) -> str:
        command = f"python scripts/generate_dataset.py path={self.path}"
        if (parts := parts_folder(self.path)).is_dir():
            done = len(list(parts.glob("*.npz")))
            return (
                f"data.store: {self.path} is not finished: {parts} holds {done} scenes. Continue with the command it "
                f"was begun with: {command} …"
            )
        return f"data.store: no store at {self.path}. Make it with: {command}"

    def _check_layout(self, file: h5py.File) -> None:
        if "schema_version" not in self.attributes:
            raise ValueError(
                f"data.store: {self.path} is no store of grasps: it has no schema version. Pass the file that "
                "scripts/generate_dataset.py wrote."
            )
        self.attributes = migrated(self.attributes, self.path)
        problems = layout_problems(file)
        problems += [
            f"attribute {name} is missing"
            for name in (*CONTENT_ATTRIBUTES, "content_hash")
            if name not in self.attributes
        ]
        if problems:
            raise ValueError(
                f"data.store: {self.path} is not a complete store: {'; '.join(problems)}. Make it again with "
                "scripts/generate_dataset.py."
            )

    def _check_hand(self, hand: Hand) -> None:
        if self.attributes["hand_name"] != hand.name:
            raise ValueError(
                f"data.store: {self.path} holds grasps of hand '{self.attributes['hand_name']}', the configuration "
                f"asks for '{hand.name}'. Pass hand={self.attributes['hand_name']} or another data.store."
            )
        if self.attributes["hand_hash"] != hand.table_hash:
            raise ValueError(
                f"data.store: {self.path} was made with another description of hand '{hand.name}' (hash "
                f"{self.attributes['hand_hash']}, here {hand.table_hash}). Generate it again."
            )
        if (stored := json.loads(self.attributes["joint_names"])) != list(hand.joint_names):
            raise ValueError(
                f"data.store: {self.path} has joints {', '.join(stored)}, hand '{hand.name}' has "
                f"{', '.join(hand.joint_names)}. Generate it again."
            )

    # Handles do not survive a fork: every process opens its own at first use.

    @property
    def _file(self) -> h5py.File:
        pid = os.getpid()
        if pid not in self._handles:
            self._handles = {pid: h5py.File(self.path)}
        return self._handles[pid]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}

    def open(self) -> None:
        """Open the file in this process, if it is not."""
        self._file  # noqa: B018

    def file_of(self, scene: int) -> Path:
        """Return the file that holds a scene."""
        return self.path

    # What is in it

    @property
    def content_hash(self) -> str:
        """Hash of the content, as written."""
        return str(self.attributes["content_hash"])

    @cached_property
    def origin(self) -> Origin:
        """Where grasps and verdicts come from."""
        return Origin.from_json(self.attributes["origin"])

    @property
    def num_scenes(self) -> int:
        """Number of scenes."""
        return len(self._tables["scenes/split"])

    @property
    def num_objects(self) -> int:
        """Number of distinct objects."""
        return len(self._tables["objects/name"])

    @cached_property
    def object_names(self) -> list[str]:
        """Names of the distinct objects."""
        return list(self._tables["objects/name"])

    @cached_property
    def object_families(self) -> list[str]:
        """Family of each object."""
        return list(self._tables["objects/family"])

    def split_of(self, scene: int) -> str:
        """Return the split that a scene belongs to."""
        return str(self._tables["scenes/split"][scene])

    def scene_objects(self, scene: int) -> np.ndarray:
        """Return the store's object rows of a scene's objects."""
        start, stop = self._tables["scenes/object_ptr"][scene : scene + 2]
        return self._tables["scenes/object"][start:stop]

    def scene_views(self, scene: int) -> range:
        """Return the view rows of a scene."""
        return range(*self._tables["scenes/view_ptr"][scene : scene + 2])

    def object(self, row: int) -> ObjectRecord:
        """Return an object."""
        t, file = self._tables, self._file["objects"]
        v, f, p = (
            slice(*t[f"objects/{name}_ptr"][row : row + 2]) for name in ("vertices", "faces", "piece_sizes")
        )
        sizes = t["objects/piece_sizes"]
        start = int(sizes[: p.start].sum())
        points = file["piece_vertices"][start : start + int(sizes[p].sum())]
        return ObjectRecord(
            name=str(t["objects/name"][row]),
            family=str(t["objects/family"][row]),
            vertices=file["vertices"][v],
            faces=file["faces"][f],
            pieces=tuple(np.split(points, np.cumsum(sizes[p])[:-1])),
            mass=float(t["objects/mass"][row]),
        )

    def scene(self, row: int) -> Scene:
        """Return a scene."""
        start, stop = self._tables["scenes/object_ptr"][row : row + 2]
        return Scene(
            objects=tuple(self.object(int(i)) for i in self._tables["scenes/object"][start:stop]),
            T_world_object=self._tables["scenes/T_world_object"][start:stop],
            table=bool(self._tables["scenes/table"][row]),
        )

    def view(self, row: int) -> View:
        """Return a view."""
        t, file = self._tables, self._file["views"]
        where = slice(*t["views/point_ptr"][row : row + 2])
        arrays = {name: file[name][where] for name in ("points", "rgb", "instance")}
        return View(T_world_cam=t["views/T_world_cam"][row], K=t["views/K"][row], **arrays)

    def judged(self, scene: int, target: int) -> JudgedGrasps:
        """Return all judged grasps of an object of a scene."""
        where, file = self._grasp_rows(scene, target), self._file["grasps"]
        grasps = Grasps(**{name: file[name][where] for name in GRASP_COLUMNS})
        return JudgedGrasps(grasps=grasps, **{name: file[name][where] for name in VERDICT_COLUMNS})

    def num_grasps(self, scene: int, target: int) -> int:
        """Return how many grasps of an object of a scene there are."""
        rows = self._grasp_rows(scene, target)
        return rows.stop - rows.start

    def num_learned(self, scene: int, target: int, min_robustness: float, min_clearance_m: float) -> int:
        """Return how many grasps of an object of a scene are worth learning."""
        rows, empty = self._grasp_rows(scene, target), np.zeros((0, 0))
        verdicts = {name: self._tables[f"grasps/{name}"][rows] for name in VERDICT_COLUMNS}
        judged = JudgedGrasps(Grasps(empty, empty, empty), **verdicts)
        return int(judged.worth_learning(min_robustness, min_clearance_m).sum())

    def num_success(self, scene: int, target: int) -> int:
        """Return how many grasps of an object of a scene passed."""
        return int(self._tables["grasps/success"][self._grasp_rows(scene, target)].sum())

    def record(self, row: int) -> SceneRecord:
        """Return all there is of a scene, as it was written."""
        return SceneRecord(
            index=int(self._tables["scenes/index"][row]),
            split=self.split_of(row),
            seed=int(self._tables["scenes/seed"][row]),
            scene=self.scene(row),
            views=tuple(self.view(view) for view in self.scene_views(row)),
            judged=tuple(self.judged(row, i) for i in range(len(self.scene_objects(row)))),
        )

    def _grasp_rows(self, scene: int, target: int) -> slice:
        row = self._tables["scenes/object_ptr"][scene] + target
        return slice(*(int(i) for i in self._tables["grasps/ptr"][row : row + 2]))

    @cached_property
    def _all_items(self) -> list[tuple[StoreItem, int]]:
        """Every (scene, target, view) with the number of its visible target points."""
        instance, ptr = self._file["views/instance"][...], self._tables["views/point_ptr"]
        items: list[tuple[StoreItem, int]] = []
        for scene in range(self.num_scenes):
            num_objects = len(self.scene_objects(scene))
            for view in self.scene_views(scene):
                counts = np.bincount(instance[ptr[view] : ptr[view + 1]], minlength=num_objects + 1)
                for target in range(num_objects):
                    items.append((StoreItem(len(items), scene, target, view), int(counts[target + 1])))
        return items

    @property
    def num_items(self) -> int:
        """Number of all items: every target in every view of its scene."""
        return len(self._all_items)

    def items(self, split: str, *, min_points: int, require_success: bool) -> list[StoreItem]:
        """Return the items of a split whose target shows enough points (and has a successful grasp, if required).

        In a converted store an object without grasps is a neighbour, never a target.

        Raises:
            ValueError: no such split.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        claimed = self.origin.verdicts == "claimed"
        return [
            item
            for item, visible in self._all_items
            if self.split_of(item.scene) == split
            and visible >= min_points
            and not (claimed and self.num_grasps(item.scene, item.target) == 0)
            and (not require_success or self.num_success(item.scene, item.target) > 0)
        ]

    def leaks(self) -> list[str]:
        """Return the names of objects that are grasped in more than one split, or in another and seen in training.

        A store split by scene has the same objects everywhere, and no leaks.
        """
        if self.origin.split_by == "scene":
            return []
        splits: dict[int, set[str]] = {}
        for scene in range(self.num_scenes):
            for target, row in enumerate(self.scene_objects(scene)):
                split = self.split_of(scene)
                if split == "train" or self.num_grasps(scene, target) > 0:
                    splits.setdefault(int(row), set()).add(split)
        return sorted(self.object_names[row] for row, found in splits.items() if len(found) > 1)

    def verify(self) -> None:
        """Compute the content hash again.

        Raises:
            ValueError: it is not the one that was written.
        """
        found = content_hash(self._file, {name: self.attributes[name] for name in CONTENT_ATTRIBUTES})
        if found != self.content_hash:
            raise ValueError(
                f"{self.path}: content hash {found[:12]} differs from the {self.content_hash[:12]} written."
            )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
