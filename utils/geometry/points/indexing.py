"""How rows of a batch are picked by index: one gather for points, features, frames and masks."""

import torch
from jaxtyping import Int, Shaped
from torch import Tensor


def gather(values: Shaped[Tensor, "b n *c"], index: Int[Tensor, "b *i"]) -> Tensor:
    """Return ``out[b, i...] = values[b, index[b, i...]]``, with any number of index and of value axes."""
    b, n = values.shape[:2]
    # One selection of rows from a flat batch: a copy forward and a row-wise sum backward, several times faster
    # on a CPU than indexing or torch.gather.
    rows = index
    exporting = torch.compiler.is_exporting()
    if b > 1 or exporting:
        # A program takes a stop that is a product to mean at least two clouds.
        first = (
            n * torch.arange(b, device=values.device)
            if exporting
            else torch.arange(0, b * n, n, device=values.device)
        )
        rows = index + first.view(b, *(1,) * (index.dim() - 1))
    return values.reshape(b * n, *values.shape[2:]).index_select(0, rows.flatten()).unflatten(0, index.shape)
