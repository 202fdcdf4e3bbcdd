"""Random numbers of a batch that depend on each item alone: not on its neighbors, the device or the process.

Every number is a hash of (key of the item, stream, position): splitmix64 (Steele, Lea, Flood 2014), whose integer
arithmetic gives the same bits on every device.
"""

import math
import zlib

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.utils.core.seeding import keyed_seed

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number; products wrap around
# 0xBF58476D1CE4E5B9 and 0x94D049BB133111EB; the last round only shifts
_ROUNDS = ((30, -4658895280553007687), (27, -7723592293110705685), (31, 1))
_BITS = 24  # of a float32 below 1


class KeyedRandom:
    """Random tensors for the items of a batch.

    Args:
        key: one number per item, see :func:`draw_keys`.
    """

    def __init__(self, key: Int[Tensor, "b"]) -> None:
        self.key = key

    def stream(self, name: str) -> "KeyedRandom":
        """Return numbers that are independent of those under other names."""
        return KeyedRandom(mix_bits(self.key + _offset(name)))

    def uniform(self, *shape: int) -> Float[Tensor, "b *s"]:
        """Return numbers from 0 to below 1, ``shape`` for each item."""
        return (
            self._bits(math.prod(shape)).bitwise_and_(2**_BITS - 1).float().mul_(2.0**-_BITS).view(-1, *shape)
        )

    def between(self, low: float, high: float, *shape: int) -> Float[Tensor, "b *s"]:
        """Return uniform numbers between two bounds."""
        return low + (high - low) * self.uniform(*shape)

    def normal(self, *shape: int) -> Float[Tensor, "b *s"]:
        """Return standard normal numbers (Box and Muller 1958)."""
        count = math.prod(shape)
        bits = self._bits(-(-count // 2))
        angle = (bits >> 32).bitwise_and_(2**_BITS - 1).float().mul_(2.0 * math.pi * 2.0**-_BITS)
        first = bits.bitwise_and_(2**_BITS - 1).add_(1).float().mul_(2.0**-_BITS)
        radius = first.log_().mul_(-2.0).sqrt_()
        both = torch.cat((angle.cos().mul_(radius), angle.sin_().mul_(radius)), dim=-1)
        return both[:, :count].reshape(-1, *shape)

    def _bits(self, count: int) -> Int[Tensor, "b c"]:
        counter = torch.arange(1, count + 1, device=self.key.device)
        return mix_bits(torch.add(self.key[:, None], counter, alpha=GOLDEN))


def stream_key(key: int, name: str) -> int:
    """Return the key of ``KeyedRandom(key).stream(name)``, computed without a tensor."""
    x = (key + _offset(name)) % 2**64
    for shift, factor in _ROUNDS:
        x = (x ^ (x >> shift)) * factor % 2**64
    return x - 2**64 if x >= 2**63 else x


def _offset(name: str) -> int:
    return zlib.crc32(name.encode()) * GOLDEN % 2**62


def draw_keys(seed: int, epoch: Int[Tensor, "b"], item: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
    """Return the keys of items in a pass: unrelated for neighboring seeds, passes and items."""
    start = torch.full_like(item, seed % 2**62)
    return mix_bits(mix_bits(mix_bits(start * GOLDEN) + epoch * GOLDEN) + item * GOLDEN)


def mix_bits(x: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """Return splitmix64's finalizer of every number; overwrites ``x``: fresh memory costs more than the arithmetic."""
    shifted = torch.empty_like(x)
    for shift, factor in _ROUNDS:
        torch.bitwise_right_shift(x, shift, out=shifted)
        # The shift of signed numbers drags the sign along; the mask takes it off again.
        x ^= shifted.bitwise_and_(2 ** (64 - shift) - 1)
        if factor != 1:
            x *= factor
    return x


def keyed_generator(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on ``device`` for exactly these keys, for example (seed, step)."""
    generator = torch.Generator(device=device)
    generator.manual_seed(keyed_seed(*keys))
    return generator
