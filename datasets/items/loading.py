"""How many loading processes a machine needs, and how far ahead they work: from its cores and a short measurement."""

import logging
import math
import time
from dataclasses import dataclass
from typing import Literal

from sceneleapultra.datasets.items.item_dataset import Index, ItemDataset
from sceneleapultra.datasets.items.phases import Phase
from sceneleapultra.utils.core.resources import workers_per_process

_BATCH_S = 0.01  # a batch should be ready this often: faster than any training step waits for
_MEASURED = 3  # batches, of which the first also warms up
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadingSettings:
    """How items are read and served; ``config/data`` says what each setting means."""

    workers: int | Literal["auto"]
    prefetch: int | Literal["auto"]
    cache_mb: int
    staging: str | None
    augment_on: Literal["workers", "device"]
    max_bad_fraction: float
    quarantine: str
    progressive: tuple[Phase, ...]
    seed: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_bad_fraction <= 1.0:
            raise ValueError(f"data.loading.max_bad_fraction: expected 0 to 1, got {self.max_bad_fraction}.")


@dataclass(frozen=True)
class Loading:
    """Loading processes of one training process, and batches each keeps ready (None without processes)."""

    workers: int
    prefetch: int | None


def choose_loading(
    data: ItemDataset,
    batches: list[list[Index]],
    *,
    workers: int | str,
    prefetch: int | str,
    local_processes: int,
) -> Loading:
    """Return the numbers that were asked for, or what this machine needs where that is ``auto``.

    Args:
        data: whose batches are measured.
        batches: the first of them.
        workers: a number, or ``auto``: as many as make a batch every 10 ms, at most what the cores allow.
        prefetch: a number, or ``auto``: 2, and more where some batches take much longer than others.
        local_processes: training processes of this machine.

    Raises:
        ValueError: neither a number nor ``auto``.
    """
    if prefetch != "auto" and not (isinstance(prefetch, int) and prefetch >= 1):
        raise ValueError(f"data.loading.prefetch must be 'auto' or a number from 1, got {prefetch!r}.")
    most = workers_per_process(workers, local_processes)
    if "auto" not in (workers, prefetch) or most == 0:
        return Loading(most, prefetch if isinstance(prefetch, int) and most else None)
    seconds = []
    for batch in batches[:_MEASURED]:
        start = time.perf_counter()
        data.__getitems__(batch)
        seconds.append(time.perf_counter() - start)
    typical = sorted(seconds)[len(seconds) // 2]
    chosen = workers_needed(typical, most) if workers == "auto" else most
    ahead = prefetch if isinstance(prefetch, int) else min(8, max(2, math.ceil(max(seconds) / typical)))
    _log.info(
        "data: %d of at most %d loading processes (a batch takes %.1f ms), %d batches ahead",
        chosen,
        most,
        1e3 * typical,
        ahead,
    )
    return Loading(chosen, ahead if chosen else None)


def workers_needed(typical_s: float, most: int) -> int:
    """Return how many processes make a batch every 10 ms, at least one where there is a core for it."""
    return min(most, max(1, math.ceil(typical_s / _BATCH_S)))
