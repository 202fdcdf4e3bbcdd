"""Random numbers of a network without a generator: hashes of the cloud's own coordinates.

Whether a point is dropped and how a cloud's curves are shuffled depends on the cloud alone. So they do not depend on
its batch mates, on the process or on the order of its points, are the same when a stage is recomputed for its gradient,
and a resumed run repeats them. Augmentation changes the coordinates, and with them the numbers, in every epoch.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.utils.core.keyed_random import GOLDEN, mix_bits


def mix(values: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Scramble 64-bit integers so that every bit depends on every bit (splitmix64, Steele et al. 2014)."""
    return mix_bits(values + GOLDEN)


def bits(coord: Float[Tensor, "n 3"]) -> Int[Tensor, "n 3"]:
    """Return what single precision holds of numbers."""
    return coord.float().contiguous().view(torch.int32).long()


def cloud_keys(bits: Int[Tensor, "n 3"], batch: Int[Tensor, "n"], num_clouds: int) -> Int[Tensor, "b"]:
    """Return a number for each cloud that the bits of its coordinates determine, whatever their order."""
    x, y, z = bits.unbind(1)
    keys = torch.zeros(num_clouds, dtype=torch.long, device=bits.device)
    return keys.scatter_add(0, batch, mix(mix(mix(x) + y) + z))


def point_keys(
    cloud_key: Int[Tensor, "b"], batch: Int[Tensor, "n"], grid: Int[Tensor, "n 3"]
) -> Int[Tensor, "n"]:
    """Return a number for each voxel of each cloud."""
    x, y, z = grid.unbind(1)
    return mix(cloud_key[batch] + ((x << 42) | (y << 21) | z))


def uniform(keys: Int[Tensor, "*n"], salt: int) -> Float[Tensor, "*n"]:
    """Return numbers in [0, 1) that are independent for different keys and salts."""
    return (mix(keys + mix(torch.tensor(salt))) >> 40 & 0xFFFFFF).float() / 2**24


def permutations(cloud_key: Int[Tensor, "b"], size: int, salt: int) -> Int[Tensor, "b o"]:
    """Return one order of ``size`` things for each cloud."""
    things = torch.arange(size, device=cloud_key.device)
    return uniform(mix(cloud_key)[:, None] + things, salt).argsort(1)
