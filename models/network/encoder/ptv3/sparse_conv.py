"""How a convolution runs on occupied voxels only (Graham et al. 2018, submanifold): neighbors by sorted keys, then one
matrix product per tap of the kernel over the pairs of neighbors it joins.

    out[p] = bias + sum over taps t of W[:, t] @ in[p + t - k // 2]

Weights are laid out (out, x, y, z, in), as spconv 2.2 and later write them.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.models.network.encoder.ptv3.row_gather import sum_bags


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Neighbors under a cubic kernel: pair i adds what ``source[i]`` holds to ``target[i]``.

    Pairs are sorted by tap; ``splits`` counts them per tap, ``(x * k + y) * k + z`` in flat order.
    """

    source: Int[Tensor, "p"]
    target: Int[Tensor, "p"]
    splits: tuple[int, ...]
    by_target: Int[Tensor, "p"]  # pairs sorted by their target
    starts: Int[Tensor, "n"]  # where each target's pairs begin in it

    def sum(self, values: Float[Tensor, "p c"]) -> Float[Tensor, "n c"]:
        """Add up one value per pair at the pairs' targets."""
        return sum_bags(values, self.by_target, self.starts)

    def convolve(self, x: Float[Tensor, "n c"], weight: Float[Tensor, "t c d"]) -> Float[Tensor, "n d"]:
        """Return the convolution without bias; not differentiable, see :func:`convolve`."""
        gathered = torch.nn.functional.embedding(self.source, x)
        products = x.new_empty(len(gathered), weight.shape[2])
        begin = 0
        for tap, count in enumerate(self.splits):
            if count:
                rows = slice(begin, begin + count)
                torch.mm(gathered[rows], weight[tap], out=products[rows])
                begin += count
        return self.sum(products)

    def correlate(self, x: Float[Tensor, "n c"], y: Float[Tensor, "n d"]) -> Float[Tensor, "t c d"]:
        """Return, for each tap, the sum over its pairs of the outer product of ``x[source]`` and ``y[target]``."""
        left = torch.nn.functional.embedding(self.source, x)
        right = torch.nn.functional.embedding(self.target, y)
        out = x.new_zeros(len(self.splits), x.shape[1], y.shape[1])
        begin = 0
        for tap, count in enumerate(self.splits):
            if count:
                rows = slice(begin, begin + count)
                torch.mm(left[rows].T, right[rows], out=out[tap])
                begin += count
        return out


@torch.no_grad()
def find_pairs(grid: Int[Tensor, "n 3"], batch: Int[Tensor, "n"], kernel: int) -> Pairs:
    """Find the neighbors of every voxel within a cubic kernel of odd size; voxels of other clouds are none.

    A column of the kernel along z is a run of consecutive keys, so one binary search serves the whole column, and
    only half of the columns are searched: the other half are the same pairs the other way round.
    """
    n, r, device = len(grid), kernel // 2, grid.device
    side = int(grid.max()) + 1 + 2 * r  # margins keep columns of neighboring lines and clouds apart
    x, y, z = grid.unbind(1)
    keys, points = (((batch * side + x) * side + y) * side + z + r).sort()
    points = points.to(torch.int32)
    columns = [(dx, dy) for dx in range(-r, r + 1) for dy in range(-r, r + 1) if (dx, dy) >= (0, 0)]
    shifts = torch.tensor([(dx * side + dy) * side - r for dx, dy in columns], device=device)
    lowest = keys + shifts[:, None]
    first = torch.searchsorted(keys, lowest)
    padded = torch.nn.functional.pad(keys, (0, kernel), value=torch.iinfo(torch.long).max)
    found = []
    for step in range(kernel):
        dz = padded[first + step] - lowest
        hit = dz < kernel
        hit[0] &= dz[0] > r  # of the column through the center, what lies above it
        column, place = hit.nonzero(as_tuple=True)
        tap = (column * kernel + dz[column, place] - r - 1).to(torch.int16)
        found.append((tap, place, first[column, place] + step))
    tap, place, neighbor = (torch.cat(parts) for parts in zip(*found, strict=True))
    tap, by_tap = tap.sort(stable=True)
    target, source = points[place[by_tap]], points[neighbor[by_tap]]
    after = torch.bincount(tap, minlength=kernel**3 // 2).tolist()  # pairs of each tap after the center
    everyone = torch.arange(n, dtype=torch.int32, device=device)
    # The taps before the center are those after it, seen from the other end.
    source, target = (
        torch.cat([there.flip(0), everyone, here]) for there, here in ((target, source), (source, target))
    )
    counts = torch.bincount(target, minlength=n)
    return Pairs(
        source=source,
        target=target,
        splits=(*reversed(after), n, *after),
        by_target=target.argsort(stable=True).to(torch.int32),
        starts=(counts.cumsum(0) - counts).to(torch.int32),
    )


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        return pairs.convolve(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            # Neighborhood is mutual: tap t leads from p to q where tap T - 1 - t leads from q to p.
            to_x = ctx.pairs.convolve(gradient, weight.flip(0).transpose(1, 2))
        if ctx.needs_input_grad[1]:
            to_weight = ctx.pairs.correlate(x, gradient)
        return to_x, to_weight, None


def convolve(
    x: Float[Tensor, "n c"], weight: Float[Tensor, "d k k k c"], pairs: Pairs
) -> Float[Tensor, "n d"]:
    """Convolve features of voxels with a cubic kernel; differentiable once in both."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    return _Convolve.apply(x.contiguous(), weight.flatten(1, 3).permute(1, 2, 0), pairs)
