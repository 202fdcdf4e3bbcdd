"""How a loading process makes a batch: what is the same in every epoch is cached, the rest is sampled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from sceneleapultra.datasets.augmentation import Augmentation
from sceneleapultra.datasets.items.cache import ByteCache
from sceneleapultra.datasets.items.collate import collate
from sceneleapultra.datasets.items.grasp_pool import GraspPool, ItemGrasps, build_pool, sample_grasps
from sceneleapultra.datasets.items.item_cloud import ItemCloud, build_cloud
from sceneleapultra.datasets.items.items import ItemSettings
from sceneleapultra.datasets.items.packing import PackedBatch, pack
from sceneleapultra.datasets.items.quarantine import BadItem, Quarantine
from sceneleapultra.datasets.store.store import GraspStore, StoreItem
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.keyed_random import draw_keys
from sceneleapultra.utils.core.seeding import KeyedNumpy
from sceneleapultra.utils.core.signals import held
from sceneleapultra.utils.parts import Part, part_prompt
from sceneleapultra.utils.records import View
from sceneleapultra.utils.training.profiling import DATA_STAGES, LoadRecord, StageClock, StageProfiler

Index = tuple[int, int] | tuple[int, int, int]  # epoch, position, and the points of smaller clouds
Prompt = Literal["none", "category", "part"]
_GRASPS, _POINTS, _ORDER, _PART = range(4)  # streams of what is left to chance


@dataclass(frozen=True)
class WorkerReport:
    """What a loading process returns with the batch."""

    bad: tuple[BadItem, ...]
    record: LoadRecord | None  # where stages are timed


@dataclass(frozen=True)
class ItemChunk:
    """One item: a target in a view, and, where a partition serves all grasps, which chunk of them."""

    item: StoreItem
    chunk: int | None


class ItemDataset(Dataset[tuple[GraspBatch | None, WorkerReport]]):
    """Items of one split; an index and the seed decide every random choice.

    Args:
        store: where they are.
        items: targets in views.
        settings: how items are built.
        augmentation: acts on every batch here; None leaves batches as they are.
        keys: whether batches carry the keys of augmentation's random numbers, here or on the device.
        prompt: what batches hold in words: nothing, the family of the target, or a part that all their grasps of it
            are on, drawn among those that the target is grasped by.
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
        prompt: Prompt,
        seed: int,
        cache_bytes: int,
        measured: bool,
    ) -> None:
        self.store, self.settings = store, settings
        self.augmentation, self.keys, self.seed = augmentation, keys, seed
        self._cache = ByteCache(cache_bytes)
        self.prompt = prompt
        self._rng = KeyedNumpy()
        self._clock = StageClock(DATA_STAGES, on=measured)
        self.entries = list(self._entries(items))

    def _entries(self, items: list[StoreItem]) -> Iterator[ItemChunk]:
        s = self.settings.grasps
        for item in items:
            if s.partition is None:
                yield ItemChunk(item, None)
                continue
            num = self.store.num_learned(item.scene, item.target, s.min_robustness, s.min_clearance_m)
            for chunk in range(s.num_chunks(num)):
                # A number of its own, so that no two items share their noise.
                yield ItemChunk(replace(item, index=item.index + chunk * self.store.num_items), chunk)

    def __len__(self) -> int:
        return len(self.entries)

    def holds(self, bad: BadItem) -> bool:
        """Say whether a bad item is one of these, and not of another split or store."""
        return bad.store in self._files and bad.index in self._indices

    @cached_property
    def _files(self) -> frozenset[str]:
        return frozenset(str(shard.path) for shard in self.store.shards)

    @cached_property
    def _indices(self) -> frozenset[int]:
        return frozenset(entry.item.index for entry in self.entries)

    def __getitem__(self, index: Index) -> tuple[GraspBatch | None, WorkerReport]:
        """Build a batch of one item."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[Index]) -> tuple[GraspBatch | None, WorkerReport]:
        """Build a batch; items that cannot be right are left out and named. No batch where none is left."""
        clock, bad, good = self._clock, [], []
        clouds: list[ItemCloud] = []
        grasps: list[ItemGrasps] = []
        words: list[str | None] = []
        before = self._counts()
        with clock("data.total"):
            with clock("data.open"):
                self.store.open()
            for epoch, position, *_ in indices:
                entry = self.entries[position]
                try:
                    with clock("data.read_scene"):
                        cloud = self._cloud(entry.item, epoch)
                    with clock("data.read_grasps"):
                        pool = self._pool(entry.item)
                except (ValueError, OSError) as error:
                    bad.append(self._bad(entry.item, error))
                    continue
                with clock("data.sample_grasps"):
                    if self.prompt == "part":
                        pool, part = self._choose_part(pool, entry.item, epoch)
                        words.append(None if part is None else part_prompt(part))
                    grasps.append(self._draw(pool, entry, epoch))
                clouds.append(cloud)
                good.append((epoch, entry.item))
            batch = self._batch(clouds, grasps, words, good, *indices[0][2:]) if good else None
        record = None
        if clock.on:
            counts = (now - then for now, then in zip(self._counts(), before, strict=True))
            record = LoadRecord(clock.take(), *counts)
        return batch, WorkerReport(tuple(bad), record)

    def _counts(self) -> tuple[int, ...]:
        """Return the counters whose differences a LoadRecord holds; nothing where no stage is timed."""
        if not self._clock.on:
            return ()
        self.store.open()
        read = self.store.counters
        return (self._cache.hits, self._cache.misses, read.mapped, read.decoded, read.fetched())

    def _batch(
        self,
        clouds: list[ItemCloud],
        grasps: list[ItemGrasps],
        words: list[str | None],
        items: list[tuple[int, StoreItem]],
        points: int | None = None,
    ) -> GraspBatch:
        index = tuple(item.index for _, item in items)
        rest: dict[str, Any] = {
            "item_index": index,
            "object_name": tuple(self._name(item) for _, item in items),
        }
        if self.prompt == "part":
            rest["positive_prompt"] = tuple(words)
        if self.prompt == "category":
            families = [self._families(item) for _, item in items]
            rest["positive_prompt"] = tuple(own for own, _ in families)
            rest["negative_prompts"] = tuple(others for _, others in families)
        if self.keys:
            epochs = torch.tensor([epoch for epoch, _ in items])
            rest["draw_key"] = draw_keys(self.seed, epochs, torch.tensor(index))
        with self._clock("data.transform"):
            batch = collate(clouds, grasps, self.settings.grasps.number, **rest)
            batch = batch if points is None else batch.points(points)
        with self._clock("data.augment"):
            return batch if self.augmentation is None else self.augmentation(batch)

    def _cloud(self, item: StoreItem, epoch: int) -> ItemCloud:
        def prepare(view: View) -> ItemCloud:
            return build_cloud(
                view,
                item.target,
                self.settings.cloud,
                self._rng(self.seed, epoch, item.index, _POINTS),
                colors=self.settings.colors,
                T_world_object=self.store.T_world_object(item.scene, item.target),
            )

        if self.settings.cloud.points.sampler == "farthest":  # the same in every epoch
            return self._cache.get(
                ("cloud", item.view, item.target), lambda: prepare(self.store.view(item.view))
            )
        return prepare(self._cache.get(("view", item.view), lambda: self.store.view(item.view)))

    def _pool(self, item: StoreItem) -> GraspPool:
        return self._cache.get(
            ("grasps", item.scene, item.target),
            lambda: build_pool(self.store.labeled(item.scene, item.target), self.settings.grasps),
        )

    def _choose_part(self, pool: GraspPool, item: StoreItem, epoch: int) -> tuple[GraspPool, Part | None]:
        """Draw a part, each with the same chance, and keep the grasps on it; all of them where no part has a name."""
        held = pool.held()
        if not held:
            return pool, None
        part = held[int(self._rng(self.seed, epoch, item.index, _PART).integers(len(held)))]
        return pool.on(part), part

    def _draw(self, pool: GraspPool, entry: ItemChunk, epoch: int) -> ItemGrasps:
        choice, item = self.settings.grasps, entry.item
        if entry.chunk is None:
            return sample_grasps(pool, choice, None, self._rng(self.seed, epoch, item.index, _GRASPS))
        # All chunks of an item are shares of one order: shuffled in each epoch, or the same in all of them.
        first = item.index - entry.chunk * self.store.num_items
        key = ("order", first, epoch) if choice.partition == "random" else ("order", item.scene, item.target)
        order = self._cache.get(
            key,
            lambda: choice.order(pool.hand_pose[pool.good], self._rng(self.seed, epoch, first, _ORDER)),
        )
        rng = self._rng(self.seed, epoch, item.index, _GRASPS)
        return sample_grasps(replace(pool, good=pool.good[order]), choice, entry.chunk, rng)

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
    """Loads batches in other processes, and reads the reports of those processes here.

    Args:
        data: the items.
        batches: lists of indices.
        quarantine: where bad items go.
        profiler: what receives the times of stages, or None.
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
        super().__init__(data, batch_sampler=batches, collate_fn=collate_for_transfer, **options)
        self.quarantine, self.profiler = quarantine, profiler

    def __iter__(self) -> Iterator[GraspBatch]:  # type: ignore[override]
        """Yield batches.

        Raises:
            ValueError: too many items are bad, or all of a batch.
        """
        with held():  # the first pass starts the workers
            loaded = super().__iter__()
        for batch, report in loaded:
            self.quarantine.add(report.bad)
            if self.profiler is not None and report.record is not None:
                self.profiler.loaded(report.record)
            if batch is None:
                raise ValueError(
                    f"All {len(report.bad)} items of a batch are bad; see {self.quarantine.path}. Raise "
                    "data.batch_size, or mend the data."
                )
            yield batch.unpack() if isinstance(batch, PackedBatch) else batch


def collate_for_transfer(made: Any) -> tuple[GraspBatch | PackedBatch | None, WorkerReport]:
    """Pack a batch that leaves a loading process."""
    batch, report = made
    return (batch if batch is None or get_worker_info() is None else pack(batch)), report
