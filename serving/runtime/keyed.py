"""The random numbers of sampling in numpy: bit for bit those of :mod:`sceneleapultra.utils.core.keyed_random`.

Their logarithms, sines and cosines may differ in the last bit.
"""

import math
import zlib

import numpy as np
from jaxtyping import Float, UInt64

from sceneleapultra.utils.core.seeding import keyed_seed

_GOLDEN, _MIX1, _MIX2 = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_BITS = 24  # of a float32 below 1
_UNIT = np.float32(2.0**-_BITS)
_TINY = 1e-7  # keeps the logarithms of a Gumbel number finite


class SampleRandom:
    """The random numbers of one scene.

    Args:
        seed: of the scene.
    """

    def __init__(self, seed: int) -> None:
        self._key, self._calls = np.uint64(keyed_seed(seed)), 0

    def normal(self, *shape: int) -> Float[np.ndarray, "..."]:
        """Return standard normal numbers; every call other ones (Box and Muller 1958)."""
        self._calls += 1
        count = math.prod(shape)
        bits = self._stream(f"normal {self._calls}", -(-count // 2))
        angle = _low_bits(bits >> np.uint64(32)) * np.float32(2.0 * math.pi * 2.0**-_BITS)
        radius = np.sqrt(np.float32(-2.0) * np.log((_low_bits(bits) + np.float32(1.0)) * _UNIT))
        return np.concatenate([np.cos(angle) * radius, np.sin(angle) * radius])[:count].reshape(shape)

    def gumbel(self, count: int, choices: int) -> Float[np.ndarray, "c s"]:
        """Return standard Gumbel numbers, always the same ones."""
        uniform = (_low_bits(self._stream("anchors", count * choices)) * _UNIT).reshape(count, choices)
        return -np.log(-np.log(uniform.clip(np.float32(_TINY), np.float32(1.0 - _TINY))))

    def _stream(self, name: str, count: int) -> UInt64[np.ndarray, "n"]:
        with np.errstate(over="ignore"):
            # The start of a stream is reduced as the signed arithmetic of the original does it.
            start = zlib.crc32(name.encode()) * (int(_GOLDEN) - 2**64) % 2**62
            key = _mix(np.array([self._key + np.uint64(start)]))
            return _mix(key + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)


def _low_bits(bits: UInt64[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    return (bits & np.uint64(2**_BITS - 1)).astype(np.float32)


def _mix(x: UInt64[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    """Return splitmix64's finalizer of every number (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    return x ^ (x >> np.uint64(31))
