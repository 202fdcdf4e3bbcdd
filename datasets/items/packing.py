"""How a batch crosses from a loading process: all tensors in one block of shared memory.

Each tensor on its own would cost a file descriptor, passed through a socket and a thread of the loading process.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from sceneleapultra.utils.batch import GraspBatch

_ALIGNMENT = 64  # bytes; every type may begin there


@dataclass(frozen=True)
class PackedBatch:
    """The tensors of a batch in one block, and where in it each is; other fields as they are."""

    block: Tensor
    places: dict[str, tuple[torch.dtype, tuple[int, ...], int]]  # type, shape, first byte
    rest: dict[str, Any]

    def pin_memory(self) -> "PackedBatch":
        """Pin the block; called by the DataLoader."""
        return replace(self, block=self.block.pin_memory())

    def unpack(self) -> GraspBatch:
        """Return the batch; its tensors are views of the block."""
        tensors: dict[str, Any] = {}
        for name, (dtype, shape, first) in self.places.items():
            size = math.prod(shape) * dtype.itemsize
            tensors[name] = self.block[first : first + size].view(dtype).view(shape)
        return GraspBatch(**tensors, **self.rest)


def pack(batch: GraspBatch) -> PackedBatch:
    """Copy the tensors of a batch into one block, which in a loading process is in shared memory at once."""
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    places, size = {}, 0
    for name, tensor in tensors.items():
        places[name] = (tensor.dtype, tuple(tensor.shape), size)
        size += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    block = torch.empty(size, dtype=torch.uint8)
    if get_worker_info() is not None:
        block.share_memory_()
    packed = PackedBatch(block, places, {k: v for k, v in values.items() if k not in tensors})
    whole = packed.unpack()
    for name, tensor in tensors.items():
        getattr(whole, name).copy_(tensor)
    return packed
