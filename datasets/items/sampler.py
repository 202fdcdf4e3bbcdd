"""In which order items are drawn: a permutation that depends on (seed, epoch) alone, dealt to processes.

The global batch of step k holds the same items for one process with batch W b as for W processes with batch b.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler

from sceneleapultra.datasets.items.item_dataset import Index
from sceneleapultra.datasets.items.phases import Place, StagePhase, place_of


def epoch_order(num_items: int, seed: int, epoch: int) -> Int[np.ndarray, "n"]:
    """Return the order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_items)


def progress_of(trainer: Any | None) -> Callable[[], int] | None:
    """Return what says how many batches a run has trained on, over all epochs; None without a trainer."""
    if trainer is None:
        return None
    return lambda: int(trainer.fit_loop.epoch_loop.batch_progress.total.ready)


class EpochBatchSampler(Sampler[list[Index]]):
    """Yields batches of (epoch, item), in phases with their detail, one pass per call of ``iter``.

    Args:
        num_items: items of the data set.
        batch_size: items per process and batch.
        seed: of the permutations.
        rank: of this process.
        world: number of processes.
        progress: says how many batches a run has trained on, over all epochs. A pass begins with the next one,
            whether or not the run was interrupted, and ends with its epoch, or with its phase. None: each pass
            follows the one before.
        phases: at the start of the run, with batches of their own.

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
        phases: Sequence[StagePhase] = (),
    ) -> None:
        keys = {phase.batch_size: f"{phase.key}: batch_size" for phase in phases} | {
            batch_size: "data.batch_size"
        }
        largest = max(keys)
        if num_items < largest * world:
            key = keys[largest]
            raise ValueError(
                f"{key}={largest} on {world} processes needs {largest * world} training items, the store has "
                f"{num_items}. Lower it, or generate more scenes."
            )
        self.num_items, self.batch_size, self.seed = num_items, batch_size, seed
        self.rank, self.world, self.progress, self.phases = rank, world, progress, phases
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
        phases: Sequence[StagePhase] = (),
    ) -> "EpochBatchSampler":
        """Return the batches of a Trainer's process; of a lone one without a Trainer."""
        rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        share = {"rank": rank, "world": world}
        return cls(num_items, batch_size=batch_size, seed=seed, progress=progress, phases=phases, **share)

    def __len__(self) -> int:
        """Return the most batches of an epoch; the last incomplete global batch is left to the next permutation."""
        smallest = min([self.batch_size, *(phase.batch_size for phase in self.phases)])
        return self.num_items // (smallest * self.world)

    def some(self, count: int) -> list[list[Index]]:
        """Return batches as long as this process's, to measure on; they advance nothing."""
        return [
            [(0, (k * self.batch_size + i) % self.num_items) for i in range(self.batch_size)]
            for k in range(count)
        ]

    def __iter__(self) -> Iterator[list[Index]]:
        """Yield this process's share of each global batch of an epoch, or of what is left of a begun one."""
        # A generator: the data loader asks for more iterators than it draws from.
        done = self._before() if self.progress is None else self.progress()
        self._passes += 1
        here = self._place(done)
        detail = () if here.detail is None else (here.detail,)
        order = epoch_order(self.num_items, self.seed, here.epoch)
        for k in range(here.batch, here.batch + here.left):
            first = k * self.world * here.batch_size
            share = order[first : first + self.world * here.batch_size][self.rank :: self.world]
            yield [(here.epoch, int(i), *detail) for i in share]

    def _place(self, done: int) -> Place:
        return place_of(
            done, self.phases, num_items=self.num_items, world=self.world, batch_size=self.batch_size
        )

    def _before(self) -> int:
        """Return the batches of all passes so far."""
        done = 0
        for _ in range(self._passes):
            done += self._place(done).left
        return done
