"""A network on every neighbor of a patch and the maximum over the patch, without ever holding all pairs.

There are many more pairs of center and neighbor than points: kept as a tensor, their features are what a PointNet++
spends its memory and time on. Here patches go through the network a few at a time, so that their features stay in a
CPU's cache; only the maxima are kept, and which neighbor gave each. The backward pass recomputes the hidden layers and,
as only the neighbor with the maximum of a channel has a gradient, needs no matrix product for the last, widest layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sceneleapultra.utils.core.planned import device_kind
from sceneleapultra.utils.core.precision import full_precision

# Numbers of a layer's output computed together: two megabytes on a CPU; on a GPU they bound the memory.
_NUMBERS_CPU, _NUMBERS_GPU = 1 << 19, 1 << 28


def grouped_maximum(
    geometry: Float[Tensor, "b s k g"],
    index: Int[Tensor, "b s k"],
    point_bias: Float[Tensor, "b n c1"] | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Float[Tensor, "b s c"]:
    """Return the maximum over the neighbors of ``W3 gelu(W2 gelu(W1 geometry + b1 + point_bias[index]) + b2) + b3``.

    Args:
        geometry: features of each pair.
        index: of the neighbor among ``n`` points; places at the end that repeat the first one repeat its geometry.
        point_bias: added to the first layer's output for each neighbor.
        weights: of at least two layers, (out, in) each, the first one reading ``geometry``.
        biases: of the same layers.

    Equal neighbors give their gradient to the first of them. Differentiable once.
    """
    device = geometry.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weights[0].dtype
    arguments = [
        None if point_bias is None else point_bias.to(dtype),
        *(w.to(dtype) for w in (*weights, *biases)),
    ]
    with full_precision(device):
        if torch.is_grad_enabled():
            pooled: Tensor = _GroupedMaximum.apply(geometry.to(dtype), index, *arguments)
            return pooled
        return _forward(geometry.to(dtype), index, arguments, winners=False)[0]


@dataclass(frozen=True)
class _Network:
    """The layers, and the patches of a batch that go through them a few at a time."""

    geometry: Float[Tensor, "m k g"]
    index: Int[Tensor, "m k"]  # of the neighbor among the points of the batch
    point_bias: Float[Tensor, "n c1"] | None
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]

    def chunks(self) -> Iterator[tuple[Int[Tensor, "s"], int]]:
        """Yield the patches that are computed together, and how many of their places are to be computed."""
        m, k = self.index.shape
        width = max(len(weight) for weight in self.weights)
        if device_kind(self.index.device.type) != "cpu":
            for each in torch.arange(m, device=self.index.device).split(max(1, _NUMBERS_GPU // (k * width))):
                yield each, k
            return
        # Patches with as many neighbors side by side: of places that repeat the first neighbor none is computed.
        filled, order = ((self.index != self.index[:, :1]).sum(1) + 1).sort(stable=True)
        size = max(1, _NUMBERS_CPU // (k * width))
        for each, counts in zip(order.split(size), filled.split(size), strict=True):
            yield each, int(counts[-1])

    def hidden(self, patches: Tensor, k: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the geometry of the patches' pairs, what goes into each GELU and what comes out."""
        geometry = self.geometry[:, :k].index_select(0, patches).flatten(0, 1)
        before = [torch.addmm(self.biases[0], geometry, self.weights[0].T)]
        if self.point_bias is not None:
            before[0] += self.point_bias.index_select(0, self.neighbors(patches, k))
        after = [functional.gelu(before[0])]
        for weight, bias in zip(self.weights[1:-1], self.biases[1:-1], strict=True):
            before.append(torch.addmm(bias, after[-1], weight.T))
            after.append(functional.gelu(before[-1]))
        return geometry, before, after

    def neighbors(self, patches: Tensor, k: int) -> Int[Tensor, "p"]:
        """Return the points of the patches' pairs."""
        return self.index[:, :k].index_select(0, patches).flatten()


def _network(geometry: Tensor, index: Tensor, arguments: Sequence[Tensor | None]) -> _Network:
    (point_bias, *layers), half = arguments, len(arguments) // 2
    if point_bias is not None:
        index = index + torch.arange(len(index), device=index.device)[:, None, None] * point_bias.shape[1]
        point_bias = point_bias.flatten(0, 1)
    weights, biases = layers[:half], layers[half:]
    return _Network(geometry.flatten(0, 1), index.flatten(0, 1), point_bias, weights, biases)  # type: ignore[arg-type]


def _forward(
    geometry: Tensor, index: Tensor, arguments: Sequence[Tensor | None], *, winners: bool
) -> tuple[Float[Tensor, "b s c"], Int[Tensor, "m c"] | None]:
    """Return the maxima, and the place of each among its neighbors if asked for."""
    network, k = _network(geometry, index, arguments), index.shape[2]
    weight = network.weights[-1]
    pooled = geometry.new_empty(len(network.index), len(weight))
    argmax = torch.empty_like(pooled, dtype=torch.int16) if winners else None
    # The first of equal neighbors has the largest number here. Compared in place: several times faster than argmax.
    countdown = torch.arange(k, 0, -1, device=geometry.device, dtype=torch.float32)[:, None]
    for patches, places in network.chunks():
        last = (network.hidden(patches, places)[2][-1] @ weight.T).unflatten(0, (-1, places))
        largest = last.amax(1)
        pooled[patches] = largest
        if argmax is not None:
            left = last.eq_(largest[:, None]).mul(countdown[:places]).amax(1)
            # Clamped for NaN, which equals nothing, not even itself.
            argmax[patches] = (k - left.clamp_(min=k - places + 1)).short()
    return pooled.add_(network.biases[-1]).view(*index.shape[:2], -1), argmax


class _GroupedMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, geometry: Tensor, index: Tensor, *arguments: Tensor | None) -> Tensor:
        pooled, argmax = _forward(geometry, index, arguments, winners=True)
        ctx.save_for_backward(geometry, index, argmax, *arguments)
        return pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        geometry, index, argmax, *arguments = ctx.saved_tensors
        network = _network(geometry, index, arguments)
        gradient = gradient.flatten(0, 1)
        to_geometry = torch.zeros_like(network.geometry) if ctx.needs_input_grad[0] else None
        to_point_bias = (
            None if network.point_bias is None else torch.zeros_like(network.point_bias, dtype=torch.float32)
        )
        # Transposed: the product of a thin matrix is several times faster this way round.
        to_weights = [torch.zeros_like(weight.T, dtype=torch.float32) for weight in network.weights]
        to_biases = [torch.zeros_like(bias, dtype=torch.float32) for bias in network.biases]
        to_biases[-1] += gradient.sum(0, dtype=torch.float32)
        for patches, k in network.chunks():
            inputs, before, after = network.hidden(patches, k)
            part, place = gradient.index_select(0, patches), argmax.index_select(0, patches)
            to_weights[-1] += _to_last_weight(part, place, after[-1], k).T
            flow = _to_last_input(part, place, network.weights[-1], k)
            for i in reversed(range(len(before))):
                flow = torch.ops.aten.gelu_backward(flow, before[i])
                to_weights[i] += (after[i - 1] if i else inputs).T @ flow
                to_biases[i] += flow.sum(0, dtype=torch.float32)
                if i:
                    flow = flow @ network.weights[i]
            if to_point_bias is not None:
                to_point_bias.index_add_(0, network.neighbors(patches, k), flow.float())
            if to_geometry is not None:
                to_geometry[patches, :k] = (flow @ network.weights[0]).unflatten(0, (-1, k))
        shapes = [geometry, None, *arguments]
        found = [to_geometry, None, to_point_bias, *(grad.T for grad in to_weights), *to_biases]
        return tuple(
            None if value is None or like is None else value.to(like.dtype).view_as(like)
            for value, like in zip(found, shapes, strict=True)
        )


def _to_last_weight(
    gradient: Float[Tensor, "s c"], argmax: Int[Tensor, "s c"], after: Float[Tensor, "p i"], k: int
) -> Float[Tensor, "c i"]:
    """Sum, for each channel, the winners' inputs weighted by their gradients."""
    rows = argmax + torch.arange(len(argmax), device=argmax.device)[:, None] * k
    weights = gradient.T.contiguous()
    return functional.embedding_bag(rows.T.contiguous(), after, mode="sum", per_sample_weights=weights)


def _to_last_input(
    gradient: Float[Tensor, "s c"], argmax: Int[Tensor, "s c"], weight: Float[Tensor, "c i"], k: int
) -> Float[Tensor, "p i"]:
    """Sum, for each pair, the rows of the weight whose channels it won, weighted by their gradients."""
    s, c = argmax.shape
    of_neighbor, channel = argmax.sort(1)
    neighbors = torch.arange(k, dtype=argmax.dtype, device=argmax.device).expand(s, k).contiguous()
    begin = torch.searchsorted(of_neighbor, neighbors) + torch.arange(s, device=argmax.device)[:, None] * c
    return functional.embedding_bag(
        channel.flatten(),
        weight,
        begin.flatten(),
        mode="sum",
        per_sample_weights=gradient.gather(1, channel).flatten(),
    )
