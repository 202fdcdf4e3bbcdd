"""A network on every neighbor of a patch and the maximum over the patch, without ever holding all pairs.

Pairs of center and neighbor are many more than points: kept as a tensor, their features are what a PointNet++ spends
its memory and its time on. Here patches go through the network a few at a time, so that what is made of them stays in a
CPU's cache; kept are the maxima and which neighbor gave each. The backward pass makes the hidden layers' values again
and, as only the winner of each channel has a gradient, needs no matrix product for the last layer, the widest one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

# Numbers of a layer's output looked at together: two megabytes on a CPU; on a GPU they bound the memory.
_NUMBERS_CPU, _NUMBERS_GPU = 1 << 19, 1 << 28


def grouped_maximum(
    geometry: Float[Tensor, "b s k g"],
    index: Int[Tensor, "b s k"],
    felt: Float[Tensor, "b n c1"] | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Float[Tensor, "b s c"]:
    """Return the maximum over the neighbors of ``W3 gelu(W2 gelu(W1 geometry + b1 + felt[index]) + b2) + b3``.

    Args:
        geometry: what is known of each pair.
        index: of the neighbor among ``n`` points; places at the end that repeat the first one repeat its geometry.
        felt: what the first layer adds for each point.
        weights: of at least two layers, (out, in) each, the first one reading ``geometry``.
        biases: of the same layers.

    Equal neighbors give their gradient to the first of them. Differentiable once.
    """
    device = geometry.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weights[0].dtype
    given = [None if felt is None else felt.to(dtype), *(w.to(dtype) for w in (*weights, *biases))]
    with torch.autocast(device, enabled=False):
        if torch.is_grad_enabled():
            pooled: Tensor = _GroupedMaximum.apply(geometry.to(dtype), index, *given)
            return pooled
        return _forward(geometry.to(dtype), index, given, winners=False)[0]


@dataclass(frozen=True)
class _Network:
    """The layers, and the patches of a batch that go through them a few at a time."""

    geometry: Float[Tensor, "m k g"]
    index: Int[Tensor, "m k"]  # of the neighbor among the points of the batch
    felt: Float[Tensor, "n c1"] | None
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]

    def parts(self) -> Iterator[tuple[Int[Tensor, "s"], int]]:
        """Yield the patches that are looked at together, and how many of their places are to be looked at."""
        m, k = self.index.shape
        width = max(len(weight) for weight in self.weights)
        if self.index.device.type != "cpu":
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
        if self.felt is not None:
            before[0] += self.felt.index_select(0, self.neighbors(patches, k))
        after = [functional.gelu(before[0])]
        for weight, bias in zip(self.weights[1:-1], self.biases[1:-1], strict=True):
            before.append(torch.addmm(bias, after[-1], weight.T))
            after.append(functional.gelu(before[-1]))
        return geometry, before, after

    def neighbors(self, patches: Tensor, k: int) -> Int[Tensor, "p"]:
        """Return the points of the patches' pairs."""
        return self.index[:, :k].index_select(0, patches).flatten()


def _network(geometry: Tensor, index: Tensor, given: Sequence[Tensor | None]) -> _Network:
    (felt, *layers), half = given, len(given) // 2
    if felt is not None:
        index = index + torch.arange(len(index), device=index.device)[:, None, None] * felt.shape[1]
        felt = felt.flatten(0, 1)
    weights, biases = layers[:half], layers[half:]
    return _Network(geometry.flatten(0, 1), index.flatten(0, 1), felt, weights, biases)  # type: ignore[arg-type]


def _forward(
    geometry: Tensor, index: Tensor, given: Sequence[Tensor | None], *, winners: bool
) -> tuple[Float[Tensor, "b s c"], Int[Tensor, "m c"] | None]:
    """Return the maxima, and the place of each among its neighbors if asked for."""
    network, k = _network(geometry, index, given), index.shape[2]
    weight = network.weights[-1]
    pooled = geometry.new_empty(len(network.index), len(weight))
    won = torch.empty_like(pooled, dtype=torch.int16) if winners else None
    # The first of equal neighbors has the largest number here. Compared in place: several times faster than argmax.
    countdown = torch.arange(k, 0, -1, device=geometry.device, dtype=torch.float32)[:, None]
    for patches, places in network.parts():
        last = (network.hidden(patches, places)[2][-1] @ weight.T).unflatten(0, (-1, places))
        largest = last.amax(1)
        pooled[patches] = largest
        if won is not None:
            left = last.eq_(largest[:, None]).mul(countdown[:places]).amax(1)
            won[patches] = (
                k - left.clamp_(min=k - places + 1)
            ).short()  # a NaN equals nothing, not even itself
    return pooled.add_(network.biases[-1]).view(*index.shape[:2], -1), won


class _GroupedMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, geometry: Tensor, index: Tensor, *given: Tensor | None) -> Tensor:
        pooled, won = _forward(geometry, index, given, winners=True)
        ctx.save_for_backward(geometry, index, won, *given)
        return pooled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        geometry, index, won, *given = ctx.saved_tensors
        network = _network(geometry, index, given)
        gradient = gradient.flatten(0, 1)
        to_geometry = torch.zeros_like(network.geometry) if ctx.needs_input_grad[0] else None
        to_felt = None if network.felt is None else torch.zeros_like(network.felt, dtype=torch.float32)
        # Transposed: the product of a thin matrix is several times faster this way round.
        to_weights = [torch.zeros_like(weight.T, dtype=torch.float32) for weight in network.weights]
        to_biases = [torch.zeros_like(bias, dtype=torch.float32) for bias in network.biases]
        to_biases[-1] += gradient.sum(0, dtype=torch.float32)
        for patches, k in network.parts():
            seen, before, after = network.hidden(patches, k)
            part, place = gradient.index_select(0, patches), won.index_select(0, patches)
            to_weights[-1] += _to_last_weight(part, place, after[-1], k).T
            flow = _to_last_input(part, place, network.weights[-1], k)
            for i in reversed(range(len(before))):
                flow = torch.ops.aten.gelu_backward(flow, before[i])
                to_weights[i] += (after[i - 1] if i else seen).T @ flow
                to_biases[i] += flow.sum(0, dtype=torch.float32)
                if i:
                    flow = flow @ network.weights[i]
            if to_felt is not None:
                to_felt.index_add_(0, network.neighbors(patches, k), flow.float())
            if to_geometry is not None:
                to_geometry[patches, :k] = (flow @ network.weights[0]).unflatten(0, (-1, k))
        shapes = [geometry, None, *given]
        found = [to_geometry, None, to_felt, *(grad.T for grad in to_weights), *to_biases]
        return tuple(
            None if value is None or like is None else value.to(like.dtype).view_as(like)
            for value, like in zip(found, shapes, strict=True)
        )


def _to_last_weight(
    gradient: Float[Tensor, "s c"], won: Int[Tensor, "s c"], after: Float[Tensor, "p i"], k: int
) -> Float[Tensor, "c i"]:
    """Sum, for each channel, the winners' inputs weighted by their gradients."""
    rows = won + torch.arange(len(won), device=won.device)[:, None] * k
    weights = gradient.T.contiguous()
    return functional.embedding_bag(rows.T.contiguous(), after, mode="sum", per_sample_weights=weights)


def _to_last_input(
    gradient: Float[Tensor, "s c"], won: Int[Tensor, "s c"], weight: Float[Tensor, "c i"], k: int
) -> Float[Tensor, "p i"]:
    """Sum, for each pair, the rows of the weight whose channels it won, weighted by their gradients."""
    s, c = won.shape
    of_neighbor, channel = won.sort(1)
    neighbors = torch.arange(k, dtype=won.dtype, device=won.device).expand(s, k).contiguous()
    begin = torch.searchsorted(of_neighbor, neighbors) + torch.arange(s, device=won.device)[:, None] * c
    return functional.embedding_bag(
        channel.flatten(),
        weight,
        begin.flatten(),
        mode="sum",
        per_sample_weights=gradient.gather(1, channel).flatten(),
    )
