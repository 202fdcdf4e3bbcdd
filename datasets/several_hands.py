"""Stores of several hands as one data module: each batch is of one hand, and the hands take turns."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from sceneleapultra.datasets.grasp_data import GraspDataModule
from sceneleapultra.datasets.items.item_dataset import GraspLoader
from sceneleapultra.datasets.items.sampler import progress_of
from sceneleapultra.datasets.store.by_hand import stores_by_hand
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.utils.batch import GraspBatch


class HandsDataModule(GraspDataModule):
    """Serves stores of several hands, a batch of each hand in turn; which hand a file is of, it says itself."""

    several_hands = True

    def setup(self, stage: str) -> None:
        """Open and check the stores.

        Raises:
            ValueError: none is of the model's own hand; foreign data or phases, which are of one.
        """
        if self.root is not None:
            raise ValueError(
                "data.root: foreign data are of one hand. Convert them first, and name the stores."
            )
        if self.loading.progressive:
            raise ValueError(
                "data.loading.progressive: phases are of one hand's data, data=several_hands serves several in turn. "
                "Leave it out."
            )
        if not hasattr(self, "of_hand"):
            self.of_hand = self._by_hand()
        for data in self.of_hand.values():
            data.trainer = self.trainer
            data.setup(stage)

    def _by_hand(self) -> dict[str, GraspDataModule]:
        files = stores_by_hand(self.path)
        if self.hand.name not in files:
            raise ValueError(
                f"data.store: expected a store of the model's hand={self.hand.name} among {self.path}, found those of "
                f"{', '.join(files)}. Pass hand=<one of these>, or name a store of {self.hand.name} too."
            )
        return {
            name: GraspDataModule(
                store=paths,
                root=None,
                conversion=None,
                hand=name,
                batch_size=self.batch_size,
                min_points=self.min_points,
                colors=self.settings.colors,
                prompt=self.prompt,
                cloud=self.settings.cloud,
                grasps=self.settings.grasps,
                augment=self.augment,
                loading=self.loading,
            )
            for name, paths in files.items()
        }

    @property
    def own(self) -> GraspDataModule:
        """The data of the model's own hand."""
        if not hasattr(self, "of_hand"):
            self.setup("fit")
        return self.of_hand[self.hand.name]

    @property
    def store(self) -> GraspStore:
        """The open store of the model's own hand."""
        return self.own.store

    @property
    def data_hash(self) -> str:
        """Hash of all stores' contents."""
        contents = {name: data.data_hash for name, data in self.of_hand.items()}
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()

    def first_batches(self, count: int) -> Iterator[GraspBatch]:
        """Yield the first training items of each hand, as many of each."""
        share = -(-count // len(self.of_hand))
        for name, data in self.of_hand.items():
            for batch in data.first_batches(share):
                yield _of_hand(batch, name)

    def on_after_batch_transfer(self, batch: GraspBatch, dataloader_idx: int) -> GraspBatch:
        """Augment a batch on the device, where the settings say so."""
        return self.of_hand[batch.hand[0]].on_after_batch_transfer(batch, dataloader_idx)

    def train_dataloader(self) -> "InTurn":  # type: ignore[override]
        """Serve training items; a resumed run continues with the batch after the last one it trained on."""
        return InTurn(
            self.of_hand,
            lambda data, taken: data.training_loader(taken),
            progress_of(self.trainer),
        )

    def val_dataloader(self) -> "OneAfterAnother":  # type: ignore[override]
        """Serve validation items of each hand in order, the same to every process."""
        return OneAfterAnother({name: data.val_dataloader() for name, data in self.of_hand.items()})

    def test_dataloader(self) -> list["OneAfterAnother"]:  # type: ignore[override]
        """Serve unseen objects of known families, then unseen families, of each hand."""
        each = {name: data.test_dataloader() for name, data in self.of_hand.items()}
        return [OneAfterAnother({name: loaders[i] for name, loaders in each.items()}) for i in range(2)]


class InTurn:
    """Batches of several hands in turn; an epoch is over when the smallest has served all of its own.

    Args:
        of_hand: data modules by hand.
        loader: makes the loader of one, which begins after as many batches as a function says.
        progress: how many batches a run has trained on.
    """

    def __init__(
        self,
        of_hand: Mapping[str, GraspDataModule],
        loader: Callable[[GraspDataModule, Callable[[], int]], GraspLoader],
        progress: Callable[[], int] | None,
    ) -> None:
        self.names, self.progress = list(of_hand), progress
        self._taken = dict.fromkeys(self.names, 0)
        self._passes = 0
        self.loaders = {
            name: loader(data, lambda name=name: self._taken[name]) for name, data in of_hand.items()
        }

    def __len__(self) -> int:
        return len(self.names) * min(len(loader) for loader in self.loaders.values())

    def __iter__(self) -> Iterator[GraspBatch]:
        """Yield what is left of the epoch that the run is in."""
        done = self._passes * len(self) if self.progress is None else self.progress()
        self._passes += 1
        for k, name in enumerate(self.names):
            self._taken[name] = len(range(k, done, len(self.names)))
        running: dict[str, Iterator[GraspBatch]] = {}
        for number in range(done, done - done % len(self) + len(self)):
            name = self.names[number % len(self.names)]
            batch = next(running[name], None) if name in running else None
            if batch is None:  # the first, or the first of the hand's own next pass
                running[name] = iter(self.loaders[name])
                batch = next(running[name])
            self._taken[name] += 1
            yield _of_hand(batch, name)


class OneAfterAnother:
    """The batches of several loaders, hand by hand."""

    def __init__(self, loaders: Mapping[str, GraspLoader]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return sum(len(loader) for loader in self.loaders.values())

    def __iter__(self) -> Iterator[GraspBatch]:
        for name, loader in self.loaders.items():
            for batch in loader:
                yield _of_hand(batch, name)


def _of_hand(batch: GraspBatch, name: str) -> GraspBatch:
    hands: Sequence[str] = (name,) * batch.size
    return replace(batch, hand=tuple(hands))
