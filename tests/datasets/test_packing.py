"""Does a batch come out of its block as it went in, without a copy?"""

import pickle
from dataclasses import fields

import torch
from torch import Tensor

from factories.batches import batch
from sceneleapultra.datasets.items.packing import pack


def test_a_packed_batch_is_the_batch() -> None:
    before = batch()
    packed = pickle.loads(pickle.dumps(pack(before)))
    after = packed.unpack()
    first, size = packed.block.data_ptr(), packed.block.nbytes
    for field in fields(before):
        one, other = getattr(before, field.name), getattr(after, field.name)
        if isinstance(one, Tensor):
            torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True)
            assert first <= other.data_ptr() < first + size, "a view of the block"
        else:
            assert one == other
