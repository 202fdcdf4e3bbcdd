"""How rows move between points, patches and clusters: gathers whose gradient is a sum over known readers.

The gradient of a gather adds up the rows that read the same source. Sorted by source once, that is an embedding bag,
several times faster on a CPU than scattering, and without atomic additions on a GPU.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RowGather:
    """Which source row every row reads; callable on features of the sources."""

    index: Int[Tensor, "r"]
    num_sources: int
    known_readers: tuple[Int[Tensor, "r"], Int[Tensor, "n"]] | None = None

    @cached_property
    def readers(self) -> tuple[Int[Tensor, "r"], Int[Tensor, "n"]]:
        """Rows sorted by the source they read, and where each source's readers begin; sorted when first needed."""
        if self.known_readers is not None:
            return self.known_readers
        counts = torch.bincount(self.index, minlength=self.num_sources)
        return self.index.argsort(stable=True), counts.cumsum(0) - counts

    def __call__(self, features: Float[Tensor, "n c"]) -> Float[Tensor, "r c"]:
        """Gather."""
        return _Gather.apply(features, self)

    def sum(self, values: Float[Tensor, "r c"]) -> Float[Tensor, "n c"]:
        """Add up the rows that read the same source: the transpose of gathering."""
        return sum_bags(values, *self.readers)

    def max(self, values: Float[Tensor, "r c"]) -> Float[Tensor, "n c"]:
        """Return the largest of the rows that read the same source, by channel; every source must have a reader."""
        # Not include_self=False: the gradient would still count what lies in the tensor that is reduced into.
        lowest = values.new_full((self.num_sources, values.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, self.index[:, None].expand_as(values), values, "amax")


def sum_bags(
    values: Float[Tensor, "r c"], members: Int[Tensor, "m"], starts: Int[Tensor, "n"]
) -> Float[Tensor, "n c"]:
    """Return sums of ``values[members]`` over consecutive bags; a bag may be empty."""
    return torch.nn.functional.embedding_bag(members, values, starts, mode="sum")


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, rows: RowGather) -> Tensor:
        ctx.rows = rows
        return torch.nn.functional.embedding(rows.index, features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.rows.sum(gradient.contiguous()), None
