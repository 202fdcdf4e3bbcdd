"""The store as Lightning reads it: typed batches, the same whatever the number of workers and processes."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from sceneleapultra.datasets.augmentation import Augmentation
from sceneleapultra.datasets.foreign.readers import Conversion, convert_once
from sceneleapultra.datasets.items.grasp_sampling import GraspChoice, GraspDistance
from sceneleapultra.datasets.items.item_dataset import GraspLoader, Index, ItemDataset
from sceneleapultra.datasets.items.items import ItemSettings
from sceneleapultra.datasets.items.loading import choose
from sceneleapultra.datasets.items.quarantine import Quarantine
from sceneleapultra.datasets.items.sampler import EpochBatchSampler, epoch_order
from sceneleapultra.datasets.store.schema import GRASP_COLUMNS
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.geometry.cloud import CloudProcessor
from sceneleapultra.utils.geometry.point_choice import PointChoice
from sceneleapultra.utils.training.profiling import StageProfiler

_FEW = 16  # items of a batch that is only looked at


class GraspDataModule(pl.LightningDataModule):
    """Serves a store. The Trainer must leave dealing items to ranks to it (``use_distributed_sampler=False``).

    Args:
        store: files of the data set, see :class:`~sceneleapultra.datasets.store.store.GraspStore`.
        staging: local folder the files are copied to and read from; None reads them where they are.
        root: folder of a foreign data set that the store is made of when it is not there yet, or None.
        conversion: how it is made.
        frame: coordinate mode of items, see :mod:`sceneleapultra.utils.geometry.frames`.
        hand: name of the hand it must belong to.
        batch_size: scenes per process and step.
        num_points: points of a cloud.
        target_share: share of the target's points in every prefix of a cloud.
        crop_radius: points further from the target's visible centroid are left out (m).
        points: which of a cloud's points are kept, see :mod:`sceneleapultra.utils.geometry.point_choice`.
        colors: whether batches have colors.
        prompt: what batches say of the target: nothing, or its ``category`` (family; the others of the scene are
            negative prompts).
        min_points: items whose target shows fewer points are left out.
        num_grasps: successful grasps per item.
        num_failures: failed grasps per item, behind the successful ones.
        grasp_strategy: how grasps are drawn, see :mod:`sceneleapultra.datasets.items.grasp_sampling`.
        grasp_chunks: how all successes are dealt to several items; None draws them.
        grasp_shares: of ``hybrid``: farthest, best, random.
        grasp_distance: how different two grasps are.
        min_robustness: grasps that held, but whose measured robustness is below, are not learned.
        min_clearance_m: grasps that held, but come nearer to table or neighbors, are not learned.
        augment: what is changed of training batches, see :class:`~sceneleapultra.datasets.augmentation.Augmentation`.
        augment_on: in loading processes or on the device.
        num_workers: loading processes per training process, or ``auto``.
        prefetch: batches each of them keeps ready, or ``auto``.
        cache_mb: memory each loading process may use for what it has read.
        max_bad_fraction: share of bad items above which the run stops.
        quarantine: file that lists them.
        seed: of order and choices.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        *,
        store: str | list[str],
        staging: str | None,
        root: str | None,
        conversion: Conversion | None,
        frame: str,
        hand: str,
        batch_size: int,
        num_points: int,
        target_share: float,
        crop_radius: float,
        points: PointChoice,
        colors: bool,
        prompt: Literal["none", "category"],
        min_points: int,
        num_grasps: int,
        num_failures: int,
        grasp_strategy: str,
        grasp_chunks: str | None,
        grasp_shares: tuple[float, float, float],
        grasp_distance: GraspDistance,
        min_robustness: float,
        min_clearance_m: float,
        augment: dict[str, dict[str, Any]],
        augment_on: Literal["workers", "device"],
        num_workers: int | Literal["auto"],
        prefetch: int | Literal["auto"],
        cache_mb: int,
        max_bad_fraction: float,
        quarantine: str,
        seed: int,
    ) -> None:
        super().__init__()
        for key, value in {"batch_size": batch_size, "min_points": min_points}.items():
            if value < 1:
                raise ValueError(f"data.{key}: expected at least 1, got {value}.")
        if not 0.0 <= max_bad_fraction <= 1.0:
            raise ValueError(f"data.max_bad_fraction: expected 0 to 1, got {max_bad_fraction}.")
        if conversion is not None and root is None:
            raise ValueError(
                f"data.root: a value is required, {conversion.reader.name} is a foreign format. Pass data.root=<the "
                f"folder of the data set>; config/conversion/{conversion.reader.name}.yaml says what must lie there."
            )
        self.path, self.staging, self.hand = store, staging, load_hand(hand)
        self.root, self.conversion, self.frame = root, conversion, frame
        self.batch_size, self.min_points = batch_size, min_points
        self.num_workers, self.prefetch = num_workers, prefetch
        self.cache_mb, self.seed = cache_mb, seed
        self.max_bad_fraction, self.quarantine = max_bad_fraction, Path(quarantine)
        self.augment_on, self.prompt, self.augment = augment_on, prompt, augment
        self.augmentation = Augmentation(augment, mode=self.frame, colors=colors, hand=self.hand)
        self.settings = ItemSettings(
            cloud=CloudProcessor(
                num_points=num_points,
                target_share=target_share,
                crop_radius=crop_radius,
                points=points,
                frame=frame,
            ),
            colors=colors,
            grasps=GraspChoice(
                number=num_grasps,
                failures=num_failures,
                strategy=grasp_strategy,
                partition=grasp_chunks,
                shares=grasp_shares,
                distance=grasp_distance,
                min_robustness=min_robustness,
                min_clearance_m=min_clearance_m,
            ),
        )
        self._store: GraspStore | None = None

    def setup(self, stage: str) -> None:
        """Open and check the store; make it of the foreign data set first, if there is one and no store yet.

        Raises:
            ValueError: a store without squeezes, or a foreign data set that cannot be converted.
        """
        if self._store is None:
            if self.root is not None and self.conversion is not None:
                if not isinstance(self.path, str):
                    raise ValueError(
                        f"data.store: a foreign data set becomes one store, got the list {self.path}. Name one file."
                    )
                convert_once(self.root, Path(self.path), self.conversion)
            self._store = GraspStore(self.path, hand=self.hand, staging=self.staging)
            absent = [n for n in GRASP_COLUMNS[1:] if getattr(self._store.origin, n) == "absent"]
            if absent:
                raise ValueError(
                    f"data.store: {self.path} was converted from data without {' and '.join(absent)}, which a model "
                    "learns. Convert it with open_rad and squeeze_rad (config/conversion/common.yaml)."
                )

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
    def described(self) -> dict[str, Any]:
        """What the poses in training batches depend on, as plain containers."""
        items = {**asdict(self.settings), "min_points": self.min_points, "seed": self.seed}
        return {"data_hash": self.data_hash, "frame": self.frame, "items": items, "augment": self.augment}

    @property
    def statistics_folder(self) -> Path:
        """Where statistics of this data are kept."""
        first = self.store.shards[0].path
        return first.with_name(f"{first.name}.statistics")

    def first_batches(self, count: int) -> Iterator[GraspBatch]:
        """Yield the first training items of the first epoch, augmented, made in this process."""
        data = self.dataset("train", augment=True)
        order = epoch_order(len(data), self.seed, 0)[:count]
        listed = [[(0, int(i)) for i in order[k : k + _FEW]] for k in range(0, len(order), _FEW)]
        quarantine = Quarantine(self.quarantine, num_items=len(data), max_fraction=self.max_bad_fraction)
        for batch in GraspLoader(data, listed, quarantine, None, num_workers=0):
            yield self.on_after_batch_transfer(batch, 0)

    @property
    def cloud(self) -> dict[str, Any]:
        """What a checkpoint keeps, to prepare any other cloud as the items' clouds are."""
        return self.settings.cloud.settings

    def dataset(self, split: str, *, augment: bool) -> ItemDataset:
        """Return the items of a split that have a grasp to learn.

        Raises:
            ValueError: there are none.
        """
        s = self.settings.grasps
        items = [
            item
            for item in self.store.items(split, min_points=self.min_points, require_success=False)
            if self.store.num_learned(item.scene, item.target, s.min_robustness, s.min_clearance_m)
        ]
        if not items:
            raise ValueError(
                f"data.store: {self.path} has no item of split '{split}' with a grasp that held (of at least "
                f"data.min_robustness={s.min_robustness:g} and data.min_clearance_m={s.min_clearance_m:g}, where "
                f"measured) and data.min_points={self.min_points} points in view. "
                "Generate more scenes, or lower these."
            )
        return ItemDataset(
            self.store,
            items,
            self.settings,
            augmentation=self.augmentation if augment and self.augment_on == "workers" else None,
            keys=augment,
            prompted=self.prompt == "category",
            seed=self.seed,
            cache_bytes=self.cache_mb * 2**20,
            measured=self._profiler is not None,
        )

    @property
    def _profiler(self) -> StageProfiler | None:
        profiler = None if self.trainer is None else self.trainer.profiler  # type: ignore[attr-defined]
        return profiler if isinstance(profiler, StageProfiler) else None

    def on_after_batch_transfer(self, batch: GraspBatch, dataloader_idx: int) -> GraspBatch:
        """Augment a batch on the device, where that is asked for; batches of validation have no keys and stay."""
        return self.augmentation(batch) if self.augment_on == "device" else batch

    def train_dataloader(self) -> GraspLoader:
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
        return self._loader(data, sampler, sampler.some(3))

    def val_dataloader(self) -> GraspLoader:
        """Serve validation items in order, the same to every process."""
        return self._in_order("val")

    def test_dataloader(self) -> list[GraspLoader]:
        """Serve unseen objects of known families, then unseen families."""
        return [self._in_order("test"), self._in_order("test_family")]

    def _in_order(self, split: str) -> GraspLoader:
        data = self.dataset(split, augment=False)
        positions = [(0, i) for i in range(len(data))]
        batches = [positions[i : i + self.batch_size] for i in range(0, len(positions), self.batch_size)]
        return self._loader(data, batches, batches[:3])

    def _loader(
        self, data: ItemDataset, batches: Iterable[list[Index]], first: list[list[Index]]
    ) -> GraspLoader:
        loading = choose(
            data,
            first,
            workers=self.num_workers,
            prefetch=self.prefetch,
            local_processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )
        return GraspLoader(
            data,
            batches,
            Quarantine(self.quarantine, num_items=len(data), max_fraction=self.max_bad_fraction),
            # What validation loads is not what training waits for.
            self._profiler if isinstance(batches, EpochBatchSampler) else None,
            num_workers=loading.workers,
            prefetch_factor=loading.prefetch,
            persistent_workers=loading.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_single_thread if loading.workers else None,
        )


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)
