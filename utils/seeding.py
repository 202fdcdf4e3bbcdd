"""Where randomness comes from: generators keyed by what is being drawn, never by what was drawn before.

A stream that depends only on (seed, step) needs no saved state: a resumed run draws what the uninterrupted one drew.
"""

import numpy as np
import torch
from torch import Tensor


def keyed_seed(*keys: int) -> int:
    """Mix non-negative integers into one 63-bit seed; neighbouring keys give unrelated streams.

    Raises:
        ValueError: a key is negative.
    """
    if any(key < 0 for key in keys):
        raise ValueError(f"keyed_seed needs non-negative keys; got {keys}. Pass seed=0 or larger.")
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def keyed_generator(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on ``device`` for exactly these keys, for example (seed, step)."""
    generator = torch.Generator(device=device)
    generator.manual_seed(keyed_seed(*keys))
    return generator


def rank_slice(draw: Tensor, rank: int, world_size: int) -> Tensor:
    """Take this rank's rows of a draw made for the global batch.

    Rank r of w holds items r, r + w, r + 2w, … of the global batch, as distributed samplers deal them. When every rank
    draws for the global batch with one key and takes its rows, w ranks train exactly as one process would.
    """
    return draw[rank::world_size]
