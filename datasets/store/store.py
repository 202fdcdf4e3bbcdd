"""How a data set is read: checked when it is opened, opened once per process, every part by index."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sceneleapultra.datasets.store.columns import Columns, ReadCounters
from sceneleapultra.datasets.store.manifest import resolve
from sceneleapultra.datasets.store.schema import COLUMNS, GRASP_COLUMNS, SPLITS, VERDICT_COLUMNS, Origin
from sceneleapultra.datasets.store.shard import Shard, merge_attributes
from sceneleapultra.datasets.store.staging import stage_stores
from sceneleapultra.hands import Hand
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import Grasps, LabeledGrasps, ObjectRecord, Scene, SceneRecord, View

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
    """A finished store, or several of one hand as one data set.

    Args:
        store: a file, a pattern, a list of those, or a manifest; see :func:`.manifest.resolve`.
        hand: the hand it must belong to; None accepts any.
        staging: local folder to copy the files to and read them from; None reads them where they are.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a complete store, of another schema version, of another hand, or shards that do not fit.
    """

    def __init__(
        self,
        store: str | Path | Sequence[str],
        hand: Hand | None = None,
        *,
        staging: str | Path | None = None,
    ) -> None:
        paths = resolve(store)
        self.shards = tuple(Shard(path) for path in paths)
        if hand is not None:
            for shard in self.shards:
                shard.check_hand(hand)
        self.attributes = merge_attributes(self.shards)
        self.path = paths[0] if len(paths) == 1 else Path(_describe(store))
        self._columns = Columns(
            [shard.columns for shard in stage_stores(self.shards, None if staging is None else Path(staging))]
        )
        self._tables = {name: self._columns.whole(name) for name in COLUMNS if name not in _LARGE}
        self._check_objects()

    def _check_objects(self) -> None:
        """Make sure that objects of one name are one object."""
        if len(self.shards) == 1:
            return
        shapes: dict[str, tuple[float, ...]] = {}
        for row, name in enumerate(self._tables["objects/name"]):
            sizes = (self._tables[f"objects/{kind}_ptr"] for kind in ("vertices", "faces", "piece_sizes"))
            shape = (*(float(p[row + 1] - p[row]) for p in sizes), float(self._tables["objects/mass"][row]))
            if shapes.setdefault(name, shape) != shape:
                raise ValueError(
                    f"data.store: {self.path} has different objects of the name '{name}' in different shards. Give "
                    "different objects different names."
                )

    def open(self) -> None:
        """Open the files in this process, if they are not."""
        self._columns.open()

    @property
    def counters(self) -> ReadCounters:
        """What this process has read."""
        return self._columns.counters

    def file_of(self, scene: int) -> Path:
        """Return the file that holds a scene."""
        return self.shards[self._columns.shard_of("scenes/seed", scene)].path

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
        return len(set(self._tables["objects/name"]))

    @cached_property
    def object_names(self) -> list[str]:
        """Names of the distinct objects."""
        return list(self._tables["objects/name"])

    @cached_property
    def object_families(self) -> list[str]:
        """Family of each object."""
        return list(self._tables["objects/family"])

    def index_of(self, scene: int) -> int:
        """Return the number a scene had when it was made."""
        return int(self._tables["scenes/index"][scene])

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
        t = self._tables
        v, f, p = (
            slice(*t[f"objects/{name}_ptr"][row : row + 2]) for name in ("vertices", "faces", "piece_sizes")
        )
        sizes = t["objects/piece_sizes"]
        start, part = int(sizes[: p.start].sum()), t["objects/piece_part"][p]
        points = self._rows("objects/piece_vertices", slice(start, start + int(sizes[p].sum())))
        return ObjectRecord(
            name=str(t["objects/name"][row]),
            family=str(t["objects/family"][row]),
            vertices=self._rows("objects/vertices", v),
            faces=self._rows("objects/faces", f),
            pieces=tuple(np.split(points, np.cumsum(sizes[p])[:-1])),
            mass=float(t["objects/mass"][row]),
            piece_part=part if part.any() else None,
        )

    def scene(self, row: int) -> Scene:
        """Return a scene."""
        start, stop = self._tables["scenes/object_ptr"][row : row + 2]
        return Scene(
            objects=tuple(self.object(int(i)) for i in self._tables["scenes/object"][start:stop]),
            T_world_object=self._tables["scenes/T_world_object"][start:stop],
            table=bool(self._tables["scenes/table"][row]),
        )

    def T_world_object(self, scene: int, target: int) -> np.ndarray:
        """Return where an object of a scene lies."""
        return self._tables["scenes/T_world_object"][self._tables["scenes/object_ptr"][scene] + target]

    def view(self, row: int) -> View:
        """Return a view."""
        t = self._tables
        where = slice(*t["views/point_ptr"][row : row + 2])
        arrays = {name: self._rows(f"views/{name}", where) for name in ("points", "rgb", "instance")}
        return View(T_world_cam=t["views/T_world_cam"][row], K=t["views/K"][row], **arrays)

    def labeled(self, scene: int, target: int) -> LabeledGrasps:
        """Return all labeled grasps of an object of a scene."""
        where = self._grasp_rows(scene, target)
        grasps = Grasps(**{name: self._rows(f"grasps/{name}", where) for name in GRASP_COLUMNS})
        return LabeledGrasps(
            grasps=grasps, **{name: self._tables[f"grasps/{name}"][where] for name in VERDICT_COLUMNS}
        )

    @cached_property
    def has_parts(self) -> bool:
        """Whether some objects have parts with names, and some grasps are known to be on one."""
        return bool(self._tables["objects/piece_part"].any() and self._tables["grasps/held_part"].any())

    def num_grasps(self, scene: int, target: int) -> int:
        """Return how many grasps of an object of a scene there are."""
        rows = self._grasp_rows(scene, target)
        return rows.stop - rows.start

    def num_learned(self, scene: int, target: int, min_robustness: float, min_clearance_m: float) -> int:
        """Return how many grasps of an object of a scene are worth learning."""
        rows, empty = self._grasp_rows(scene, target), np.zeros((0, 0))
        verdicts = {name: self._tables[f"grasps/{name}"][rows] for name in VERDICT_COLUMNS}
        labeled = LabeledGrasps(Grasps(empty, empty, empty), **verdicts)
        return int(labeled.worth_learning(min_robustness, min_clearance_m).sum())

    def held_parts(self, scene: int, target: int) -> list[Part]:
        """Return the named parts that successful grasps of an object of a scene are on."""
        rows = self._grasp_rows(scene, target)
        held = self._tables["grasps/held_part"][rows][self._tables["grasps/success"][rows]]
        return [Part(number) for number in np.unique(held).tolist() if number != Part.UNNAMED]

    def num_success(self, scene: int, target: int) -> int:
        """Return how many grasps of an object of a scene passed."""
        return int(self._tables["grasps/success"][self._grasp_rows(scene, target)].sum())

    def record(self, row: int) -> SceneRecord:
        """Return all there is of a scene, as it was written."""
        return SceneRecord(
            index=self.index_of(row),
            split=self.split_of(row),
            seed=int(self._tables["scenes/seed"][row]),
            scene=self.scene(row),
            views=tuple(self.view(view) for view in self.scene_views(row)),
            labeled=tuple(self.labeled(row, i) for i in range(len(self.scene_objects(row)))),
        )

    def _rows(self, name: str, rows: slice) -> np.ndarray:
        return self._columns.read(name, rows)

    def _grasp_rows(self, scene: int, target: int) -> slice:
        row = self._tables["scenes/object_ptr"][scene] + target
        return slice(*(int(i) for i in self._tables["grasps/ptr"][row : row + 2]))

    @cached_property
    def _all_items(self) -> list[tuple[StoreItem, int]]:
        """Every (scene, target, view) with the number of its visible target points."""
        instance, ptr = self._columns.whole("views/instance"), self._tables["views/point_ptr"]
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

        In a converted store an object without grasps is a neighbor, never a target.

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
        splits: dict[str, set[str]] = {}
        for scene in range(self.num_scenes):
            for target, row in enumerate(self.scene_objects(scene)):
                split = self.split_of(scene)
                if split == "train" or self.num_grasps(scene, target) > 0:
                    splits.setdefault(self.object_names[int(row)], set()).add(split)
        return sorted(name for name, found in splits.items() if len(found) > 1)

    def verify(self) -> None:
        """Compute the content hash again.

        Raises:
            ValueError: it is not the one that was written.
        """
        for shard in self.shards:
            shard.verify()


def _describe(store: str | Path | Sequence[str]) -> str:
    return str(store) if isinstance(store, str | Path) else " + ".join(store)
