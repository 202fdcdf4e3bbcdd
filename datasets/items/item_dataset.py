"""How a loading process makes a batch: what is the same in every epoch is remembered, the rest is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from sceneleapultra.datasets.augmentation import Augmentation
from sceneleapultra.datasets.items.cache import ByteCache
from sceneleapultra.datasets.items.items import (
    Drawn,
    GraspPool,
    ItemSettings,
    Sight,
    collate,
    draw,
    gather,
    see,
)
from sceneleapultra.datasets.items.packing import PackedBatch, pack
from sceneleapultra.datasets.items.quarantine import BadItem, Quarantine
from sceneleapultra.datasets.store.store import GraspStore, StoreItem
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.keyed_random import draw_keys
from sceneleapultra.utils.core.seeding import KeyedNumpy
from sceneleapultra.utils.records import View
from sceneleapultra.utils.training.profiling import DATA_STAGES, LoadRecord, StageClock, StageProfiler

Index = tuple[int, int]  # epoch and position
_GRASPS, _POINTS, _ORDER = range(3)  # streams of what is left to chance


@dataclass(frozen=True)
class Notes:
    """What a loading process says besides the batch."""

    bad: tuple[BadItem, ...]
    record: LoadRecord | None  # where stages are timed


@dataclass(frozen=True)
class Entry:
    """One item: a target in a view, and where all grasps are served in turn, which share of them."""

    item: StoreItem
    chunk: int | None


class ItemDataset(Dataset[tuple[GraspBatch | None, Notes]]):
    """Items of one split; an index is (epoch, position), and with the seed decides every random choice.

    Args:
        store: where they are.
        items: targets in views.
        settings: how items are built.
        augmentation: acts on every batch here; None leaves batches as they are.
        keys: whether batches carry what augmentation draws by, here or on the device.
        seed: of every choice.
        cache_bytes: memory for what is the same in every epoch.
        measured: whether stages are timed.
    """

    def __init__(
        self,
        store: GraspStore,
        items: list[StoreItem],
        settings: ItemSettings,
        *,
        augmentation: Augmentation | None,
        keys: bool,
        prompted: bool,
        seed: int,
        cache_bytes: int,
        measured: bool,
    ) -> None:
        self.store, self.settings = store, settings
        self.augmentation, self.keys, self.seed = augmentation, keys, seed
        self._cache = ByteCache(cache_bytes)
        self.prompted = prompted
        self._rng = KeyedNumpy()
        self._clock = StageClock(DATA_STAGES, on=measured)
        self.entries = list(self._entries(items))

    def _entries(self, items: list[StoreItem]) -> Iterator[Entry]:
        s = self.settings
        for item in items:
            if s.grasps.chunks is None:
                yield Entry(item, None)
                continue
            num = self.store.num_learned(item.scene, item.target, s.min_robustness, s.min_clearance_m)
            for chunk in range(s.grasps.num_chunks(num, s.num_grasps)):
                # A number of its own, so that no two items share their noise.
                yield Entry(replace(item, index=item.index + chunk * self.store.num_items), chunk)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Index) -> tuple[GraspBatch | None, Notes]:
        """Build a batch of one item."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[Index]) -> tuple[GraspBatch | None, Notes]:
        """Build a batch; items that cannot be right are left out and named. No batch where none is left."""
        clock, bad, good = self._clock, [], []
        sights: list[Sight] = []
        drawn: list[Drawn] = []
        before = self._counts()
        with clock("data.total"):
            with clock("data.open"):
                self.store.open()
            for epoch, position in indices:
                entry = self.entries[position]
                try:
                    with clock("data.read_scene"):
                        sight = self._sight(entry.item, epoch)
                    with clock("data.read_grasps"):
                        pool = self._pool(entry.item)
                except (ValueError, OSError) as error:
                    bad.append(self._bad(entry.item, error))
                    continue
                with clock("data.sample_grasps"):
                    drawn.append(self._draw(pool, entry, epoch))
                sights.append(sight)
                good.append((epoch, entry.item))
            batch = self._batch(sights, drawn, good) if good else None
        record = None
        if clock.on:
            counts = (now - then for now, then in zip(self._counts(), before, strict=True))
            record = LoadRecord(clock.take(), *counts)
        return batch, Notes(tuple(bad), record)

    def _counts(self) -> tuple[int, ...]:
        """Return what LoadRecord holds the differences of; nothing where it is not wanted."""
        if not self._clock.on:
            return ()
        self.store.open()
        read = self.store.counters
        return (self._cache.hits, self._cache.misses, read.mapped, read.decoded, read.fetched())

    def _batch(
        self, sights: list[Sight], drawn: list[Drawn], items: list[tuple[int, StoreItem]]
    ) -> GraspBatch:
        index = tuple(item.index for _, item in items)
        rest: dict[str, Any] = {
            "item_index": index,
            "object_name": tuple(self._name(item) for _, item in items),
        }
        if self.prompted:
            families = [self._families(item) for _, item in items]
            rest["positive_prompt"] = tuple(own for own, _ in families)
            rest["negative_prompts"] = tuple(others for _, others in families)
        if self.keys:
            epochs = torch.tensor([epoch for epoch, _ in items])
            rest["draw_key"] = draw_keys(self.seed, epochs, torch.tensor(index))
        with self._clock("data.transform"):
            batch = collate(sights, drawn, self.settings.num_grasps, **rest)
        with self._clock("data.augment"):
            return batch if self.augmentation is None else self.augmentation(batch)

    def _sight(self, item: StoreItem, epoch: int) -> Sight:
        def seen(view: View) -> Sight:
            rng = self._rng(self.seed, epoch, item.index, _POINTS)
            return see(
                view, item.target, self.settings, rng, self.store.T_world_object(item.scene, item.target)
            )

        if self.settings.points.sampler == "farthest":  # the same in every epoch
            return self._cache.get(
                ("sight", item.view, item.target), lambda: seen(self.store.view(item.view))
            )
        return seen(self._cache.get(("view", item.view), lambda: self.store.view(item.view)))

    def _pool(self, item: StoreItem) -> GraspPool:
        return self._cache.get(
            ("grasps", item.scene, item.target),
            lambda: gather(self.store.labeled(item.scene, item.target), self.settings),
        )

    def _draw(self, pool: GraspPool, entry: Entry, epoch: int) -> Drawn:
        s, item = self.settings, entry.item
        if entry.chunk is None:
            return draw(pool, s, None, self._rng(self.seed, epoch, item.index, _GRASPS))
        # All chunks of an item are shares of one order: shuffled anew in each epoch, or the same in all of them.
        first = item.index - entry.chunk * self.store.num_items
        shuffled = s.grasps.chunks == "random"
        key = ("order", item.scene, item.target) if not shuffled else ("order", first, epoch)
        order = self._cache.get(
            key,
            lambda: s.grasps.order(
                pool.hand_pose[pool.good], s.num_grasps, self._rng(self.seed, epoch, first, _ORDER)
            ),
        )
        rng = self._rng(self.seed, epoch, item.index, _GRASPS)
        return draw(replace(pool, good=pool.good[order]), s, entry.chunk, rng)

    def _families(self, item: StoreItem) -> tuple[str, tuple[str, ...]]:
        """Return the family of the target, and the other families in its scene."""
        rows = self.store.scene_objects(item.scene)
        families = [self.store.object_families[int(row)] for row in rows]
        own = families[item.target]
        return own, tuple(sorted(set(families) - {own}))

    def _name(self, item: StoreItem) -> str:
        return self.store.object_names[int(self.store.scene_objects(item.scene)[item.target])]

    def _bad(self, item: StoreItem, error: Exception) -> BadItem:
        where = self.store.file_of(item.scene)
        return BadItem(
            item.index, item.scene, item.target, item.view, self._name(item), str(where), f"{error}"
        )


class GraspLoader(DataLoader[Any]):
    """Loads batches in other processes, and reads here what those processes say besides.

    Args:
        data: the items.
        batches: lists of indices.
        quarantine: where bad items go.
        profiler: what is told of stages that were timed.
        options: of the data loader.
    """

    def __init__(
        self,
        data: ItemDataset,
        batches: Any,
        quarantine: Quarantine,
        profiler: StageProfiler | None,
        **options: Any,
    ) -> None:
        super().__init__(data, batch_sampler=batches, collate_fn=_crossing, **options)
        self.quarantine, self.profiler = quarantine, profiler

    def __iter__(self) -> Iterator[GraspBatch]:  # type: ignore[override]
        """Yield batches.

        Raises:
            ValueError: too many items are bad, or all of a batch.
        """
        for batch, notes in super().__iter__():
            self.quarantine.add(notes.bad)
            if self.profiler is not None and notes.record is not None:
                self.profiler.loaded(notes.record)
            if batch is None:
                raise ValueError(
                    f"All {len(notes.bad)} items of a batch are bad; see {self.quarantine.path}. Raise "
                    "data.batch_size, or mend the data."
                )
            yield batch.unpack() if isinstance(batch, PackedBatch) else batch


def _crossing(made: Any) -> tuple[GraspBatch | PackedBatch | None, Notes]:
    """Pack what crosses from a loading process."""
    batch, notes = made
    return (batch if batch is None or get_worker_info() is None else pack(batch)), notes
