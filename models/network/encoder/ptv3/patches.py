"""Which points of a curve attend to each other: runs of K points, the last of a cloud being its last K points.

A cloud of at most K points is one patch. In a longer one whose last run is short, that run borrows the points before it
as keys (and repeats them as queries whose result nobody reads), so that no cloud sees another and every patch is full.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

PatchRule = Literal["cloud", "smallest_cloud"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Patches of one width; where ``key_valid`` is given, shorter ones are padded to it."""

    num_patches: int
    width: int
    key_valid: Bool[Tensor, "p w"] | None


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Positions along a curve, laid out in patches: they depend on the sizes of the clouds, not on the curve.

    Two layouts. Packed: segments one after the other, cloud by cloud, ending at ``cu_seqlens``. Dense: all full
    patches, then the clouds that are shorter than a patch.
    """

    pad: Int[Tensor, "r"]  # position read by each packed row
    unpad: Int[Tensor, "n"]  # packed row that answers for each position
    cu_seqlens: Int[Tensor, "s"]
    longest: int
    groups: tuple[Group, ...]
    dense: Int[Tensor, "d"]  # position read by each dense row
    home: Int[Tensor, "n"]  # dense row that answers for each position


def lay_out(counts: tuple[int, ...], size: int, device: torch.device) -> Patches:
    """Divide clouds of ``counts`` points into patches of ``size``."""
    count = torch.tensor(counts, device=device)
    padded = torch.where(count > size, -(-count // size) * size, count)
    begin, row_begin = count.cumsum(0) - count, padded.cumsum(0) - padded
    num_points, lengths = sum(counts), [n if n <= size else -(-n // size) * size for n in counts]
    num_rows = sum(lengths)
    cloud = torch.arange(len(counts), device=device)
    of_row = cloud.repeat_interleave(padded, output_size=num_rows)
    of_point = cloud.repeat_interleave(count, output_size=num_points)
    local = torch.arange(num_rows, device=device) - row_begin[of_row]
    pad = begin[of_row] + torch.where(local < count[of_row], local, local - size)
    unpad = torch.arange(num_points, device=device) + (row_begin - begin)[of_point]

    segments = [-(-n // size) for n in lengths]
    of_segment = cloud.repeat_interleave(-(-padded // size), output_size=sum(segments))
    first = torch.tensor(segments, device=device).cumsum(0) - torch.tensor(segments, device=device)
    starts = row_begin[of_segment] + (torch.arange(sum(segments), device=device) - first[of_segment]) * size
    cu_seqlens = torch.cat([starts, starts.new_tensor([num_rows])]).to(torch.int32)

    is_short = (count < size) & (count > 0)  # an empty cloud has no patch at all
    short = [n for n in counts if 0 < n < size]
    if not short:
        groups: tuple[Group, ...] = (Group(num_patches=num_rows // size, width=size, key_valid=None),)
        return Patches(
            pad=pad, unpad=unpad, cu_seqlens=cu_seqlens, longest=size, groups=groups, dense=pad, home=unpad
        )
    # Full patches first, in order; then one padded patch for each short cloud.
    width, full_rows = max(short), num_rows - sum(short)
    column = torch.arange(width, device=device)
    short_count = count[is_short]
    key_valid = column < short_count[:, None]
    places = begin[is_short][:, None] + torch.where(key_valid, column, 0)
    dense = torch.cat([pad[~is_short[of_row]], places.flatten()])
    skipped = torch.where(is_short, padded, 0).cumsum(0)  # rows of short clouds up to and with this one
    number = is_short.cumsum(0) - 1  # of a short cloud among the short ones
    in_full = unpad - skipped[of_point]
    in_short = (
        full_rows + number[of_point] * width + (torch.arange(num_points, device=device) - begin[of_point])
    )
    groups = (
        *([Group(num_patches=full_rows // size, width=size, key_valid=None)] if full_rows else []),
        Group(num_patches=len(short), width=width, key_valid=None if min(short) == width else key_valid),
    )
    return Patches(
        pad=pad,
        unpad=unpad,
        cu_seqlens=cu_seqlens,
        longest=size if full_rows else width,
        groups=groups,
        dense=dense,
        home=torch.where(is_short[of_point], in_short, in_full),
    )
