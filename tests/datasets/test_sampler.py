"""Is the order of items one function of (seed, epoch), however many processes share it and wherever a run stops?"""

from collections.abc import Callable
from itertools import islice

import pytest

from sceneleapultra.datasets.items.sampler import EpochBatchSampler


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


def test_too_few_items_for_a_global_batch() -> None:
    with pytest.raises(ValueError) as caught:
        sampler(batch_size=12, world=2)
    assert "data.batch_size=12 on 2 processes needs 24 training items, the store has 22." in str(caught.value)
