"""How a network draws at random without a generator: numbers are hashes of the cloud's own coordinates.

A point is dropped, and a cloud's curves are shuffled, by what the cloud is and not by what was drawn before. So the
draws of a cloud do not depend on its batch mates, on the process it is served by or on the order of its points, are
the same when a stage is recomputed for its gradient, and a resumed run repeats them. Augmentation makes them new in
every epoch.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as a signed number


def mix(values: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Scramble 64-bit integers so that every bit depends on every bit (splitmix64, Steele et al. 2014)."""
    v = values + _GOLDEN
    v = (v ^ _right(v, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    v = (v ^ _right(v, 27)) * (0x94D049BB133111EB - 2**64)
    return v ^ _right(v, 31)


def cloud_keys(coord: Float[Tensor, "n 3"], batch: Int[Tensor, "n"], num_clouds: int) -> Int[Tensor, "b"]:
    """Return a number for each cloud that its coordinates determine, whatever their order."""
    x, y, z = coord.float().contiguous().view(torch.int32).long().unbind(1)
    keys = torch.zeros(num_clouds, dtype=torch.long, device=coord.device)
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


def _right(values: Tensor, bits: int) -> Tensor:
    """Shift right as unsigned numbers are shifted."""
    return values >> bits & (1 << 64 - bits) - 1
