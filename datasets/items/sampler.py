"""In which order items are drawn: a permutation that depends on (seed, epoch) alone, dealt to processes.

The global batch of step k holds the same items for one process with batch W b as for W processes with batch b.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler


def epoch_order(num_items: int, seed: int, epoch: int) -> Int[np.ndarray, "n"]:
    """Return the order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_items)


def progress_of(trainer: Any | None) -> Callable[[], int] | None:
    """Return what says how many batches a run has trained on, over all epochs; None without a trainer."""
    if trainer is None:
        return None
    return lambda: int(trainer.fit_loop.epoch_loop.batch_progress.total.ready)


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yields batches of (epoch, item), one pass per call of ``iter``.

    Args:
        num_items: items of the data set.
        batch_size: items per process and batch.
        seed: of the permutations.
        rank: of this process.
        world: number of processes.
        progress: says how many batches a run has trained on, over all epochs. A pass begins with the next one,
            whether or not the run was interrupted, and ends with its epoch. None: each pass is the next epoch.

    Raises:
        ValueError: fewer items than one global batch holds.
    """

    def __init__(
        self,
        num_items: int,
        *,
        batch_size: int,
        seed: int,
        rank: int,
        world: int,
        progress: Callable[[], int] | None,
    ) -> None:
        if num_items < batch_size * world:
            raise ValueError(
                f"data.batch_size={batch_size} on {world} processes needs {batch_size * world} training items, the "
                f"store has {num_items}. Lower data.batch_size or generate more scenes."
            )
        self.num_items, self.batch_size, self.seed = num_items, batch_size, seed
        self.rank, self.world, self.progress = rank, world, progress
        self._passes = 0

    @classmethod
    def following(
        cls,
        trainer: Any,
        num_items: int,
        *,
        batch_size: int,
        seed: int,
        progress: Callable[[], int] | None,
    ) -> "EpochBatchSampler":
        """Return the batches of a Trainer's process; of a lone one without a Trainer."""
        rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        return cls(num_items, batch_size=batch_size, seed=seed, rank=rank, world=world, progress=progress)

    def __len__(self) -> int:
        """Return batches per epoch; the last incomplete global batch is left to the next permutation."""
        return self.num_items // (self.batch_size * self.world)

    def some(self, count: int) -> list[list[tuple[int, int]]]:
        """Return batches as long as this process's, to measure on; they advance nothing."""
        return [
            [(0, (k * self.batch_size + i) % self.num_items) for i in range(self.batch_size)]
            for k in range(count)
        ]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield this process's share of each global batch of an epoch, or of what is left of a begun one."""
        # A generator: the data loader asks for more iterators than it draws from.
        done = self._passes * len(self) if self.progress is None else self.progress()
        self._passes += 1
        epoch, skip = divmod(done, len(self))
        order = epoch_order(self.num_items, self.seed, epoch)
        for k in range(skip, len(self)):
            first = k * self.world * self.batch_size
            share = order[first : first + self.world * self.batch_size][self.rank :: self.world]
            yield [(epoch, int(i)) for i in share]
