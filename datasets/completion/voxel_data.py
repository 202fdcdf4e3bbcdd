"""A store as scene completion reads it: grids about every target, made when they are asked for."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from sceneleapultra.datasets.completion.items import VoxelAugmentation, VoxelItems, VoxelPhase
from sceneleapultra.datasets.completion.truth import TrueDistances
from sceneleapultra.datasets.items.item_dataset import Index
from sceneleapultra.datasets.items.sampler import EpochBatchSampler, progress_of
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.core.parallel import follow_parent
from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings


class VoxelDataModule(pl.LightningDataModule):
    """Serves the views of a store as grids, and spreads them over ranks; grasps are not read.

    ``config/data/completion.yaml`` says what each setting means.

    Raises:
        ValueError: a setting is out of its range.
    """

    frame = ""  # of poses: there are none

    def __init__(
        self,
        *,
        store: str | list[str],
        hand: str,
        batch_size: int,
        min_points: int,
        max_items: int | None,
        cloud: VoxelSettings,
        augment: VoxelAugmentation,
        truth_step_m: float,
        progressive: tuple[VoxelPhase, ...],
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        for key, value in {
            "batch_size": batch_size,
            "min_points": min_points,
            "max_items": max_items,
        }.items():
            if value is not None and value < 1:
                raise ValueError(f"data.{key}: expected at least 1, got {value}.")
        if workers < 0:
            raise ValueError(f"data.workers: expected at least 0, got {workers}.")
        for phase in progressive:
            cloud.coarser(phase.size)  # refuses what cannot be
        self.progressive = progressive
        self.path, self.hand = store, load_hand(hand)
        self.batch_size, self.min_points, self.max_items = batch_size, min_points, max_items
        self.voxels, self.augment, self.workers, self.seed = cloud, augment, workers, seed
        self.truth = TrueDistances(reach_m=cloud.reach_m, step_m=truth_step_m)

    @property
    def cloud(self) -> dict[str, object]:
        """What a checkpoint keeps, to make the grids of any other cloud alike."""
        return self.voxels.plain

    @cached_property
    def store(self) -> GraspStore:
        """The open store."""
        return GraspStore(self.path, hand=self.hand)

    def setup(self, stage: str) -> None:
        """Open and check the store."""
        self.store.open()

    @property
    def data_hash(self) -> str:
        """Content hash of the store."""
        return self.store.content_hash

    def dataset(self, split: str, *, augment: bool) -> VoxelItems:
        """Return the items of a split.

        Raises:
            ValueError: there are none.
        """
        items = self.store.items(split, min_points=self.min_points, require_success=False)[: self.max_items]
        if not items:
            raise ValueError(
                f"data.store: {self.path} has no item of split '{split}' with data.min_points={self.min_points} points "
                "in view. Generate more scenes, or lower it."
            )
        augmentation = self.augment if augment else None
        return VoxelItems(
            self.store, items, self.voxels, self.truth, augmentation=augmentation, seed=self.seed
        )

    def train_dataloader(self) -> "DataLoader[VoxelBatch]":
        """Serve training items; a resumed run continues with the batch after the last one it trained on."""
        data = self.dataset("train", augment=True)
        sampler = EpochBatchSampler.following(
            self.trainer,
            len(data),
            batch_size=self.batch_size,
            seed=self.seed,
            progress=progress_of(self.trainer),
            phases=self.progressive,
        )
        return self._loader(data, sampler)

    def val_dataloader(self) -> "DataLoader[VoxelBatch]":
        """Serve validation items in order, the same to every process."""
        return self._in_order("val")

    def test_dataloader(self) -> "DataLoader[VoxelBatch]":
        """Serve unseen objects in order."""
        return self._in_order("test")

    def _in_order(self, split: str) -> "DataLoader[VoxelBatch]":
        data = self.dataset(split, augment=False)
        places = [(0, i) for i in range(len(data))]
        batches = [places[i : i + self.batch_size] for i in range(0, len(places), self.batch_size)]
        return self._loader(data, batches)

    def _loader(self, data: VoxelItems, batches: Iterable[Sequence[Index]]) -> "DataLoader[VoxelBatch]":
        return DataLoader(
            data,
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=lambda batch: batch,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker if self.workers else None,
        )


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    follow_parent()
