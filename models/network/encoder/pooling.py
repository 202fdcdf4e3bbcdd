"""The maximum over the neighbors of a patch, with a backward pass that keeps and costs less than torch's."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _Maximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        largest = values.amax(-2)
        # One byte per value instead of the value itself.
        ctx.save_for_backward(values == largest[..., None, :])
        return largest

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (wins,) = ctx.saved_tensors
        share = wins.to(grad.dtype)
        return share.mul_((grad / share.sum(-2))[..., None, :])


def max_over_neighbors(values: Float[Tensor, "*b k c"]) -> Float[Tensor, "*b c"]:
    """Return the largest of the neighbors in every channel; equal ones share the gradient, as with ``amax``."""
    # A compiler makes its own backward pass of amax.
    if torch.is_grad_enabled() and values.requires_grad and not torch.compiler.is_compiling():
        pooled: Tensor = _Maximum.apply(values)
        return pooled
    return values.amax(-2)
