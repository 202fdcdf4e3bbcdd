"""Is the order of items one function of (seed, epoch), however many processes share it and wherever a run stops?"""

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from sceneleapultra.datasets.items.phases import Phase
from sceneleapultra.datasets.items.sampler import EpochBatchSampler, epoch_order


def sampler(
    batch_size: int = 4,
    rank: int = 0,
    world: int = 1,
    seed: int = 0,
    progress: Callable[[], int] | None = None,
) -> EpochBatchSampler:
    return EpochBatchSampler(22, batch_size=batch_size, seed=seed, rank=rank, world=world, progress=progress)


def batches(s: EpochBatchSampler, epochs: int = 3) -> list[list[tuple[int, int]]]:
    return [batch for _ in range(epochs) for batch in s]


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    seen = batches(sampler())
    assert len(seen) == 3 * 5
    for epoch in range(3):
        items = [pair for batch in seen[5 * epoch : 5 * epoch + 5] for pair in batch]
        assert {e for e, _ in items} == {epoch}
        assert len({i for _, i in items}) == 20 and all(0 <= i < 22 for _, i in items)
    first, second = ([i for batch in seen[k : k + 5] for _, i in batch] for k in (0, 5))
    assert first != second
    assert batches(sampler()) == seen
    assert batches(sampler(seed=1)) != seen


@pytest.mark.parametrize(("world", "batch_size"), [(2, 4), (4, 2), (8, 1)])
def test_processes_share_the_batches_of_one(world: int, batch_size: int) -> None:
    """Item j of the global batch goes to rank j mod world, as distributed samplers deal them."""
    alone = batches(sampler(batch_size=8))
    shares = [batches(sampler(batch_size, rank, world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    for k, batch in enumerate(alone):
        assert [batch[rank::world] for rank in range(world)] == [share[k] for share in shares]


@pytest.mark.parametrize("done", [0, 1, 4, 5, 6, 13])
def test_a_pass_begins_with_the_next_batch_of_the_run(done: int) -> None:
    whole = batches(sampler(), epochs=4)
    resumed = list(sampler(progress=lambda: done))
    end_of_epoch = 5 * (done // 5 + 1)
    assert resumed == whole[done:end_of_epoch]


def test_a_pass_that_was_left_is_not_lost() -> None:
    """Whoever stops in the middle of a pass gets the rest of it in the next one."""
    whole, seen = batches(sampler(), epochs=2), []
    s = sampler(progress=lambda: len(seen))
    for count in (2, 0, 1, 7, 7):
        for batch in islice(s, count):
            seen.append(batch)
    assert seen == whole


PHASES = (Phase(steps=7, batch_size=6, points=50), Phase(steps=2, batch_size=2, points=70))


def phased(**changes: Any) -> EpochBatchSampler:
    settings = {"batch_size": 4, "seed": 0, "rank": 0, "world": 1, "progress": None, "phases": PHASES}
    return EpochBatchSampler(22, **{**settings, **changes})


def test_a_phase_begins_an_epoch_and_ends_with_its_steps() -> None:
    """Epochs of three batches of 6: three passes, the last cut; two batches of 2; then five of 4."""
    s = phased()
    passes = [list(s) for _ in range(6)]
    assert [len(batches) for batches in passes] == [3, 3, 1, 2, 5, 5]
    assert [{entry[0] for batch in batches for entry in batch} for batches in passes] == [
        {e} for e in range(6)
    ]
    sizes = [len(batch) for batches in passes for batch in batches]
    assert sizes == [6] * 7 + [2] * 2 + [4] * 10
    assert [batch[0][2:] for batches in passes for batch in batches] == [(50,)] * 7 + [(70,)] * 2 + [()] * 10
    for epoch, batches in enumerate(passes):
        items = [entry[1] for batch in batches for entry in batch]
        assert items == epoch_order(22, 0, epoch)[: len(items)].tolist()


@pytest.mark.parametrize("done", [0, 2, 3, 6, 7, 8, 9, 11, 14])
def test_a_run_of_phases_begins_with_its_next_batch(done: int) -> None:
    s = phased()
    whole = [batch for _ in range(6) for batch in s]
    rest = list(phased(progress=lambda: done))
    assert rest == whole[done : done + len(rest)] and rest


def test_processes_share_the_batches_of_a_phase() -> None:
    halves = tuple(Phase(steps=p.steps, batch_size=p.batch_size // 2, points=p.points) for p in PHASES)
    alone = phased()
    ranks = [phased(batch_size=2, rank=rank, world=2, phases=halves) for rank in range(2)]
    for _ in range(5):
        for batch, *shares in zip(alone, *ranks, strict=True):
            assert [batch[rank::2] for rank in range(2)] == shares


def test_too_few_items_for_a_phase() -> None:
    with pytest.raises(
        ValueError, match=r"data.loading.progressive: batch_size=6 on 4 processes needs 24 tr"
    ):
        phased(world=4)


@pytest.mark.parametrize("key", ["steps", "batch_size", "points"])
def test_numbers_of_a_phase_start_at_one(key: str) -> None:
    with pytest.raises(ValueError, match=rf"data.loading.progressive: expected {key} of at least 1, got 0"):
        Phase(**{"steps": 1, "batch_size": 1, "points": 1, key: 0})


def test_too_few_items_for_a_global_batch() -> None:
    with pytest.raises(ValueError) as caught:
        sampler(batch_size=12, world=2)
    assert "data.batch_size=12 on 2 processes needs 24 training items, the store has 22." in str(caught.value)
