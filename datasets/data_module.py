"""The store as Lightning reads it: typed batches, the same whatever the number of workers and processes."""

import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from datasets.augmentation import Augmentation
from datasets.cache import ByteCache
from datasets.grasp_sampling import GraspDistance, Strategy
from datasets.items import FRAME, ItemSettings, build_item
from datasets.sampler import EpochBatchSampler
from datasets.store import GraspStore, StoreItem
from hands import load_hand
from utils.batch import GraspBatch
from utils.point_choice import PointChoice
from utils.resources import workers_per_process


class ItemDataset(Dataset[dict[str, Any]]):
    """Items of one split; an index is (epoch, position), and with the seed decides every random choice."""

    def __init__(
        self,
        store: GraspStore,
        items: list[StoreItem],
        settings: ItemSettings,
        *,
        augmentation: Augmentation | None,
        seed: int,
        cache_bytes: int,
    ) -> None:
        self.store, self.items, self.settings = store, items, settings
        self.augmentation, self.seed = augmentation, seed
        self._cache = ByteCache(cache_bytes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Any]:
        """Build an item."""
        epoch, position = index
        item, store = self.items[position], self.store
        view = self._cache.get(("view", item.view), lambda: store.view(item.view))
        judged = self._cache.get(
            ("grasps", item.scene, item.target), lambda: store.judged(item.scene, item.target)
        )
        rng = np.random.default_rng([self.seed, epoch, item.index])
        arrays = build_item(view, item.target, judged, self.settings, self.augmentation, rng)
        row = int(store.scene_objects(item.scene)[item.target])
        return {**arrays, "object_name": store.object_names[row], "item_index": item.index}


def collate(items: list[dict[str, Any]]) -> GraspBatch:
    """Stack items into a batch."""

    def column(name: str) -> Any:
        values = [item[name] for item in items]
        return torch.from_numpy(np.stack(values)) if isinstance(values[0], np.ndarray) else tuple(values)

    return GraspBatch.from_dict({name: column(name) for name in items[0]})


class GraspDataModule(pl.LightningDataModule):
    """Serves a store. The Trainer must leave dealing items to ranks to it (``use_distributed_sampler=False``).

    Args:
        store: path of the store.
        hand: name of the hand it must belong to.
        batch_size: scenes per process and step.
        num_points: points of a cloud.
        target_share: share of the target's points in every prefix of a cloud.
        crop_radius: points further from the target's visible centroid are left out (m).
        points: which of a cloud's points are kept, see :mod:`utils.point_choice`.
        min_points: items whose target shows fewer points are left out.
        num_grasps: successful grasps per item.
        num_failures: failed grasps per item, behind the successful ones.
        grasp_strategy: how grasps are drawn, see :mod:`datasets.grasp_sampling`.
        grasp_distance: how different two grasps are, to ``farthest_point``.
        min_robustness: successes whose measured robustness is below are not drawn.
        yaw: turn training items about the vertical at random.
        jitter_m: standard deviation of noise added to training points (m).
        num_workers: loading processes per training process, or ``auto``.
        cache_mb: memory each loading process may use for what it has read.
        seed: of order and choices.

    Raises:
        ValueError: a setting is out of its range.
    """

    frame = FRAME

    def __init__(
        self,
        *,
        store: str,
        hand: str,
        batch_size: int,
        num_points: int,
        target_share: float,
        crop_radius: float,
        points: PointChoice,
        min_points: int,
        num_grasps: int,
        num_failures: int,
        grasp_strategy: Strategy,
        grasp_distance: GraspDistance,
        min_robustness: float,
        yaw: bool,
        jitter_m: float,
        num_workers: int | Literal["auto"],
        cache_mb: int,
        seed: int,
    ) -> None:
        super().__init__()
        for key, value in {"batch_size": batch_size, "min_points": min_points}.items():
            if value < 1:
                raise ValueError(f"data.{key}: expected at least 1, got {value}.")
        self.path, self.hand_name = store, hand
        self.batch_size, self.min_points = batch_size, min_points
        self.num_workers, self.cache_mb, self.seed = num_workers, cache_mb, seed
        self.augmentation = Augmentation(yaw=yaw, jitter_m=jitter_m)
        self.settings = ItemSettings(
            num_points=num_points,
            target_share=target_share,
            crop_radius=crop_radius,
            points=points,
            num_grasps=num_grasps,
            num_failures=num_failures,
            grasp_strategy=grasp_strategy,
            grasp_distance=grasp_distance,
            min_robustness=min_robustness,
        )
        self._store: GraspStore | None = None

    def setup(self, stage: str) -> None:
        """Open and check the store."""
        self._store = self._store or GraspStore(self.path, hand=load_hand(self.hand_name))

    @property
    def store(self) -> GraspStore:
        """The open store."""
        if self._store is None:
            self.setup("fit")
        assert self._store is not None
        return self._store

    @property
    def data_hash(self) -> str:
        """Content hash of the store."""
        return self.store.content_hash

    @property
    def cloud(self) -> dict[str, Any]:
        """What must be known to arrange any other cloud as the items' clouds are."""
        s = self.settings
        return {
            "num_points": s.num_points,
            "target_share": s.target_share,
            "crop_radius": s.crop_radius,
            "points": asdict(s.points),
        }

    def dataset(self, split: str, *, augment: bool) -> ItemDataset:
        """Return the items of a split that have a grasp to learn.

        Raises:
            ValueError: there are none.
        """
        least = self.settings.min_robustness
        items = [
            item
            for item in self.store.items(split, min_points=self.min_points, require_success=True)
            if self.store.num_success(item.scene, item.target, least) > 0
        ]
        if not items:
            raise ValueError(
                f"data.store: {self.path} has no item of split '{split}' with a successful grasp (of at least "
                f"data.min_robustness={least:g}, where measured) and data.min_points={self.min_points} points in view. "
                "Generate more scenes, or lower these."
            )
        return ItemDataset(
            self.store,
            items,
            self.settings,
            augmentation=self.augmentation if augment else None,
            seed=self.seed,
            cache_bytes=self.cache_mb * 2**20,
        )

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Serve training items; a resumed run continues with the batch after the last one it trained on."""
        rank, world, progress = 0, 1, None
        if (trainer := self.trainer) is not None:
            rank, world = trainer.global_rank, trainer.world_size

            def progress() -> int:
                return trainer.fit_loop.epoch_loop.batch_progress.total.ready

        data = self.dataset("train", augment=True)
        sampler = EpochBatchSampler(
            len(data), batch_size=self.batch_size, seed=self.seed, rank=rank, world=world, progress=progress
        )
        return self._loader(data, sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Serve validation items in order, the same to every process."""
        return self._in_order("val")

    def test_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        """Serve unseen objects of known families, then unseen families."""
        return [self._in_order("test"), self._in_order("test_family")]

    def _in_order(self, split: str) -> DataLoader[dict[str, Any]]:
        data = self.dataset(split, augment=False)
        positions = [(0, i) for i in range(len(data))]
        batches = [positions[i : i + self.batch_size] for i in range(0, len(positions), self.batch_size)]
        return self._loader(data, batches)

    def _loader(
        self, data: ItemDataset, batches: Iterable[list[tuple[int, int]]]
    ) -> DataLoader[dict[str, Any]]:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        workers = workers_per_process(self.num_workers, local)
        return DataLoader(
            data,
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_single_thread if workers else None,
        )


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)
