"""Streams are named by their keys and by nothing else."""

import pytest
import torch

from utils.seeding import keyed_generator, keyed_seed, rank_slice


def test_same_keys_same_stream_and_order_matters() -> None:
    first, again = (torch.randn(4, generator=keyed_generator(1, 2, 3)) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert keyed_seed(1, 2) != keyed_seed(2, 1)
    assert len({keyed_seed(0, step) for step in range(1000)}) == 1000


def test_negative_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="non-negative keys"):
        keyed_seed(0, -1)


def test_rank_slices_together_are_the_global_draw() -> None:
    draw = torch.arange(10)
    assert [rank_slice(draw, rank, 3).tolist() for rank in range(3)] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
