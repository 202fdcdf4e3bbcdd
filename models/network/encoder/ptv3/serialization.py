"""Which place does a voxel take along a space-filling curve: Morton ("z") and Hilbert codes, each also with x and y
swapped ("-trans").

Every curve has the prefix property: dropping the last bit of each axis drops the last three bits of the code.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from sceneleapultra.utils.core.names import unknown_name

CURVES = ("z", "z-trans", "hilbert", "hilbert-trans")
MAX_DEPTH = 16


def encode(grid: Int[Tensor, "n 3"], depth: int, curves: Sequence[str]) -> Int[Tensor, "o n"]:
    """Return one code of ``3 * depth`` bits per curve and voxel; all curves in one pass.

    Args:
        grid: voxel indices in [0, 2 ** depth).
        depth: bits per axis, at most 16. A Hilbert code depends on it, a Morton code does not.
        curves: names out of ``CURVES``.

    Raises:
        ValueError: unknown name of a curve.
    """
    check_curves(curves)
    codes: dict[str, Tensor] = {}
    if any(name.startswith("z") for name in curves):
        x, y, z = spread_bits(grid.T)
        codes["z"], codes["z-trans"] = x << 2 | y << 1 | z, y << 2 | x << 1 | z
    wanted = [name for name in ("hilbert", "hilbert-trans") if name in curves]
    if wanted:
        swapped = grid[:, [1, 0, 2]]
        axes = torch.stack([grid if name == "hilbert" else swapped for name in wanted]).movedim(-1, 0)
        codes.update(zip(wanted, _hilbert(axes, depth), strict=True))
    return torch.stack([codes[name] for name in curves])


def check_curves(curves: Sequence[str]) -> None:
    """Refuse names that are not in ``CURVES``, and an empty list.

    Raises:
        ValueError: unknown name of a curve, or none at all.
    """
    if not curves:
        raise ValueError(f"order: expected at least one curve out of {', '.join(CURVES)}, got none.")
    for name in curves:
        if name not in CURVES:
            raise unknown_name("order", name, CURVES)


def spread_bits(values: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Move bit i of numbers below 2 ** 16 to bit 3 i."""
    v = values.long()
    v = (v | v << 16) & 0x0000_00FF_0000_FF
    v = (v | v << 8) & 0x00F0_0F00_F00F
    v = (v | v << 4) & 0x0C30_C30C_30C3
    return (v | v << 2) & 0x2492_4924_9249


def _hilbert(axes: Int[Tensor, "3 *n"], depth: int) -> Int[Tensor, "*n"]:
    """Skilling, "Programming the Hilbert curve" (2004): axes to transpose, then interleave; x is dimension 0."""
    first, *others = (axis.to(torch.int32) for axis in axes)
    for bit in reversed(range(depth)):
        low = (1 << bit) - 1
        # Where the bit is set, the lower bits of the first axis are inverted; where not, they are exchanged.
        first = first ^ (-(first >> bit & 1) & low)
        for i, axis in enumerate(others):
            is_set = -(axis >> bit & 1) & low
            exchange = (first ^ axis) & (is_set ^ low)
            first = first ^ is_set ^ exchange
            others[i] = axis ^ exchange
    x, y, z = spread_bits(torch.stack([first, *others]))
    code = x << 2 | y << 1 | z
    shift = 1
    while shift < 3 * depth:  # inverse Gray code of the whole word
        code = code ^ code >> shift
        shift *= 2
    return code
