"""How a convolution runs on occupied voxels only (Graham et al. 2018, submanifold): neighbors by sorted keys, then one
grouped matrix product: each tap of the kernel has its own matrix for the pairs of neighbors that it joins.

    out[p] = bias + sum over taps t of W[:, t] @ in[p + t - k // 2]

Weights are laid out (out, x, y, z, in), as spconv 2.2 and later write them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sceneleapultra.models.network.encoder.ptv3.row_gather import sum_bags

_ALIGNED = (
    8  # grouped products want rows of a multiple of 16 bytes, which are eight numbers in half precision
)


class Neighbors(ABC):
    """Neighbors under a cubic kernel: pair i adds what ``source[i]`` holds to ``target[i]``."""

    source: Int[Tensor, "p"]
    target: Int[Tensor, "p"]

    @abstractmethod
    def sum(self, values: Float[Tensor, "p c"]) -> Float[Tensor, "n c"]:
        """Add up one value per pair at the pairs' targets."""

    @abstractmethod
    def convolve(self, x: Float[Tensor, "n c"], weight: Float[Tensor, "t c d"]) -> Float[Tensor, "n d"]:
        """Return the convolution without bias; not differentiable, see :func:`convolve`."""


@dataclass(frozen=True, kw_only=True)
class Pairs(Neighbors):
    """Neighbors, and no others.

    Pairs are sorted by tap, ``(x * k + y) * k + z`` in flat order; those of tap t end before ``ends[t]``.
    """

    source: Int[Tensor, "p"]
    target: Int[Tensor, "p"]
    ends: Int[Tensor, "_"]
    by_target: Int[Tensor, "p"]  # pairs sorted by their target
    starts: Int[Tensor, "n"]  # where each target's pairs begin in it

    def sum(self, values: Float[Tensor, "p c"]) -> Float[Tensor, "n c"]:
        """Add up one value per pair at the pairs' targets."""
        return sum_bags(values, self.by_target, self.starts)

    def convolve(self, x: Float[Tensor, "n c"], weight: Float[Tensor, "t c d"]) -> Float[Tensor, "n d"]:
        """Return the convolution without bias; not differentiable, see :func:`convolve`."""
        gathered = functional.embedding(self.source, x)
        return self.sum(functional.grouped_mm(gathered, weight, offs=self.ends))

    def correlate(self, x: Float[Tensor, "n c"], y: Float[Tensor, "n d"]) -> Float[Tensor, "t c d"]:
        """Return, for each tap, the sum over its pairs of the outer product of ``x[source]`` and ``y[target]``."""
        left, right = functional.embedding(self.source, x), functional.embedding(self.target, y)
        return functional.grouped_mm(left.T, right, offs=self.ends)


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
    padded = functional.pad(keys, (0, kernel), value=torch.iinfo(torch.long).max)
    candidates = first + torch.arange(kernel, device=device)[:, None, None]
    dz = padded[candidates] - lowest
    hit = dz < kernel
    hit[:, 0] &= dz[:, 0] > r  # of the column through the center, what lies above it
    step, column, place = hit.nonzero(as_tuple=True)
    tap, by_tap = (column * kernel + dz[step, column, place] - r - 1).to(torch.int16).sort(stable=True)
    place = place[by_tap]
    target, source = points[place], points[first[column[by_tap], place] + step[by_tap]]
    after = torch.bincount(tap, minlength=kernel**3 // 2)  # pairs of each tap after the center
    everyone = torch.arange(n, dtype=torch.int32, device=device)
    # The taps before the center are those after it, seen from the other end.
    source, target = (
        torch.cat([there.flip(0), everyone, here]) for there, here in ((target, source), (source, target))
    )
    counts = torch.bincount(target, minlength=n)
    splits = torch.cat([after.flip(0), after.new_tensor([n]), after])
    return Pairs(
        source=source,
        target=target,
        ends=splits.cumsum(0, dtype=torch.int32),
        by_target=target.argsort(stable=True).to(torch.int32),
        starts=(counts.cumsum(0) - counts).to(torch.int32),
    )


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pairs: Neighbors) -> Tensor:
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
    x: Float[Tensor, "n c"], weight: Float[Tensor, "d k k k c"], pairs: Neighbors
) -> Float[Tensor, "n d"]:
    """Convolve features of voxels with a cubic kernel; differentiable once in both."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    outputs, inputs = len(weight), x.shape[1]
    if inputs % _ALIGNED or outputs % _ALIGNED:
        x = functional.pad(x, (0, -inputs % _ALIGNED))
        weight = functional.pad(weight, (0, -inputs % _ALIGNED, *(0,) * 6, 0, -outputs % _ALIGNED))
    convolved: Tensor = _Convolve.apply(x.contiguous(), weight.flatten(1, 3).permute(1, 2, 0), pairs)
    return convolved[:, :outputs]
