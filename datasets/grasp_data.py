"""A store as Lightning reads it: typed batches, the same for any number of workers and processes."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pydantic import InstanceOf

from sceneleapultra.datasets.augmentation import Augmentation, Transform, plain_settings
from sceneleapultra.datasets.foreign.readers import Conversion, convert_once
from sceneleapultra.datasets.items.grasp_sampling import GraspChoice
from sceneleapultra.datasets.items.item_dataset import GraspLoader, Index, ItemDataset, Prompt
from sceneleapultra.datasets.items.items import ItemSettings
from sceneleapultra.datasets.items.loading import LoadingSettings, choose_loading
from sceneleapultra.datasets.items.quarantine import Quarantine
from sceneleapultra.datasets.items.sampler import EpochBatchSampler, epoch_order, progress_of
from sceneleapultra.datasets.store.schema import GRASP_COLUMNS
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.parallel import follow_parent
from sceneleapultra.utils.geometry.cloud import CloudProcessor
from sceneleapultra.utils.training.profiling import StageProfiler

_FEW = 16  # items of a batch that is only looked at


class GraspDataModule(pl.LightningDataModule):
    """Serves a store, and spreads its items over ranks: the Trainer needs ``use_distributed_sampler=False``.

    ``config/data`` says what each setting means.

    Raises:
        ValueError: a setting is out of its range.

    Attributes:
        several_hands: whether batches are of one hand after another.
    """

    several_hands = False

    def __init__(
        self,
        *,
        store: str | list[str],
        root: str | None,
        conversion: Conversion | None,
        hand: str,
        batch_size: int,
        min_points: int,
        colors: bool,
        prompt: Prompt,
        cloud: CloudProcessor,
        grasps: GraspChoice,
        augment: dict[str, dict[str, Any] | InstanceOf[Transform]],  # settings are not read as a Transform
        loading: LoadingSettings,
    ) -> None:
        super().__init__()
        for key, value in {"batch_size": batch_size, "min_points": min_points}.items():
            if value < 1:
                raise ValueError(f"data.{key}: expected at least 1, got {value}.")
        if prompt == "part" and grasps.partition is not None:
            raise ValueError(
                f"data.prompt=part: an item's grasps are those on one part, data.grasps.partition={grasps.partition} "
                "would spread all of them over items. Pass data.grasps.partition=null."
            )
        if conversion is not None and root is None:
            raise ValueError(
                f"data.root: a value is required, {conversion.reader.name} is a foreign format. Pass data.root=<the "
                f"folder of the data set>; config/conversion/{conversion.reader.name}.yaml says what must lie there."
            )
        self.path, self.root, self.conversion = store, root, conversion
        self.hand = load_hand(hand)
        self.batch_size, self.min_points, self.prompt = batch_size, min_points, prompt
        self.settings = ItemSettings(cloud=cloud, colors=colors, grasps=grasps)
        self.augment, self.loading = augment, loading
        self.augmentation = Augmentation(augment, mode=self.frame, colors=colors, hand=self.hand)
        self._store: GraspStore | None = None

    @property
    def frame(self) -> str:
        """Coordinate mode of items, see :mod:`sceneleapultra.utils.geometry.frames`."""
        return self.settings.cloud.frame

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
            self._store = GraspStore(self.path, hand=self.hand, staging=self.loading.staging)
            if self.prompt == "part" and not self._store.has_parts:
                raise ValueError(
                    f"data.prompt=part: {self.path} names no part of its objects, or knows of no grasp which part it "
                    "is on. Make a store of families with parts: python scripts/generate_dataset.py "
                    "'objects.families=[bottle,cup,bowl,mug,hammer,dumbbell]'"
                )
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
        items = {**asdict(self.settings), "min_points": self.min_points, "seed": self.loading.seed}
        return {
            "data_hash": self.data_hash,
            "frame": self.frame,
            "items": items,
            "augment": plain_settings(self.augment),
        }

    @property
    def statistics_folder(self) -> Path:
        """Where statistics of this data are kept."""
        first = self.store.shards[0].path
        return first.with_name(f"{first.name}.statistics")

    def first_batches(self, count: int) -> Iterator[GraspBatch]:
        """Yield the first training items of the first epoch, augmented, made in this process."""
        data = self.dataset("train", augment=True)
        order = epoch_order(len(data), self.loading.seed, 0)[:count]
        listed = [[(0, int(i)) for i in order[k : k + _FEW]] for k in range(0, len(order), _FEW)]
        for batch in GraspLoader(data, listed, self._quarantine(data), None, num_workers=0):
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
                f"data.grasps.min_robustness={s.min_robustness:g} and data.grasps.min_clearance_m="
                f"{s.min_clearance_m:g}, where measured) and data.min_points={self.min_points} points in view. "
                "Generate more scenes, or lower these."
            )
        return ItemDataset(
            self.store,
            items,
            self.settings,
            augmentation=self.augmentation if augment and self.loading.augment_on == "workers" else None,
            keys=augment,
            prompt=self.prompt,
            seed=self.loading.seed,
            cache_bytes=self.loading.cache_mb * 2**20,
            measured=self._profiler is not None,
        )

    @property
    def _profiler(self) -> StageProfiler | None:
        profiler = None if self.trainer is None else self.trainer.profiler  # type: ignore[attr-defined]
        return profiler if isinstance(profiler, StageProfiler) else None

    def on_after_batch_transfer(self, batch: GraspBatch, dataloader_idx: int) -> GraspBatch:
        """Augment a batch on the device, where the settings say so; validation batches have no keys and stay."""
        return self.augmentation(batch) if self.loading.augment_on == "device" else batch

    def train_dataloader(self) -> GraspLoader:
        """Serve training items; a resumed run continues with the batch after the last one it trained on."""
        return self.training_loader(progress_of(self.trainer))

    def training_loader(self, progress: Callable[[], int] | None) -> GraspLoader:
        """Serve training items from the batch on that ``progress`` says, see :class:`EpochBatchSampler`."""
        data = self.dataset("train", augment=True)
        sampler = EpochBatchSampler.following(
            self.trainer,
            len(data),
            batch_size=self.batch_size,
            seed=self.loading.seed,
            progress=progress,
            phases=self.loading.progressive,
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
        positions: list[Index] = [(0, i) for i in range(len(data))]
        batches = [positions[i : i + self.batch_size] for i in range(0, len(positions), self.batch_size)]
        return self._loader(data, batches, batches[:3])

    def _loader(
        self, data: ItemDataset, batches: Iterable[list[Index]], first: list[list[Index]]
    ) -> GraspLoader:
        loading = choose_loading(
            data,
            first,
            workers=self.loading.workers,
            prefetch=self.loading.prefetch,
            local_processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )
        return GraspLoader(
            data,
            batches,
            self._quarantine(data),
            # What validation loads is not what training waits for.
            self._profiler if isinstance(batches, EpochBatchSampler) else None,
            num_workers=loading.workers,
            prefetch_factor=loading.prefetch,
            persistent_workers=loading.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker if loading.workers else None,
        )

    def _quarantine(self, data: ItemDataset) -> Quarantine:
        settings = self.loading
        return Quarantine(
            Path(settings.quarantine),
            num_items=len(data),
            max_fraction=settings.max_bad_fraction,
            holds=data.holds,
        )


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    follow_parent()
