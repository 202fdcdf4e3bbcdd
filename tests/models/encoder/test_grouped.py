"""The grouped network equals the plain expression, values and gradients, however the patches are split."""

from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sceneleapultra.models.network.encoder import grouped
from sceneleapultra.models.network.encoder.grouped import grouped_maximum
from sceneleapultra.utils.geometry.points import gather

K = 7


def plain(
    geometry: Tensor, index: Tensor, felt: Tensor | None, weights: list[Tensor], biases: list[Tensor]
) -> Tensor:
    h = functional.linear(geometry, weights[0], biases[0])
    h = h if felt is None else h + gather(felt, index)
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        h = functional.linear(functional.gelu(h), weight, bias)
    return h.amax(2)


class Inputs(NamedTuple):
    geometry: Tensor
    index: Tensor
    felt: Tensor | None
    weights: list[Tensor]
    biases: list[Tensor]


def inputs(*, depth: int, points: bool) -> Inputs:
    """Patches of 1 to K neighbors among 20 points; the places that are left repeat the first one."""
    g = torch.Generator().manual_seed(0)
    index = torch.rand(2, 11, 20, generator=g).argsort(-1)[..., :K]
    count = torch.randint(1, K + 1, (2, 11, 1), generator=g)
    repeated = torch.arange(K) >= count
    index = torch.where(repeated, index[..., :1], index)
    geometry = torch.randn(2, 11, K, 5, generator=g)
    geometry = torch.where(repeated[..., None], geometry[:, :, :1], geometry)
    sizes = [5, *[8, 16, 12][-depth:]]
    weights = [torch.randn(b, a, generator=g) for a, b in pairwise(sizes)]
    biases = [torch.randn(len(w), generator=g) for w in weights]
    felt = torch.randn(2, 20, sizes[1], generator=g) if points else None
    return Inputs(geometry, index, felt, weights, biases)


@pytest.mark.parametrize("numbers", [1, 300, 1 << 19])
@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("depth", [2, 3])
def test_values_and_gradients_are_those_of_the_plain_expression(
    depth: int, points: bool, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouped, "_NUMBERS_CPU", numbers)
    geometry, index, felt, weights, biases = inputs(depth=depth, points=points)
    leaves = [geometry, *([] if felt is None else [felt]), *weights, *biases]
    for leaf in leaves:
        leaf.requires_grad_()
    ours = grouped_maximum(geometry, index, felt, weights, biases)
    want = plain(geometry, index, felt, weights, biases)
    torch.testing.assert_close(ours, want)
    along = torch.randn_like(want)
    got, expected = (torch.autograd.grad(out, leaves, along) for out in (ours, want))
    # A repeated neighbor shares its gradient with its copies there and gets all of it here.
    first = index == index[..., :1]
    others = [grads[0].masked_fill(first[..., None], 0.0) for grads in (got, expected)]
    torch.testing.assert_close(others[0], others[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got[0].sum(2), expected[0].sum(2), rtol=1e-4, atol=1e-4)
    for a, b in zip(got[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(grouped_maximum(geometry, index, felt, weights, biases), ours)


def test_under_autocast_it_is_as_close_as_the_plain_expression() -> None:
    geometry, index, felt, weights, biases = inputs(depth=3, points=True)
    exact = plain(geometry, index, felt, weights, biases)
    leaves = [*weights, *biases]
    for leaf in leaves:
        leaf.requires_grad_()
    want = torch.autograd.grad(plain(geometry, index, felt, weights, biases).sum(), leaves)
    with torch.autocast("cpu", torch.bfloat16):
        ours = grouped_maximum(geometry, index, felt, weights, biases)
        theirs = plain(geometry, index, felt, weights, biases)
    assert ours.dtype == torch.bfloat16

    def error(found: Tensor, true: Tensor) -> float:
        return float((found.detach().float() - true).norm() / true.norm())

    assert error(ours, exact) < 1.5 * error(theirs, exact) + 1e-3
    got, plainly = (torch.autograd.grad(out.float().sum(), leaves) for out in (ours, theirs))
    for a, b, true in zip(got, plainly, want, strict=True):
        assert a.dtype == torch.float32
        assert error(a, true) < 1.5 * error(b, true) + 1e-3


def test_numbers_that_are_none_stay_none() -> None:
    geometry, index, felt, weights, biases = inputs(depth=2, points=True)
    weights[0].requires_grad_()
    geometry[0, 0] = torch.nan
    pooled = grouped_maximum(geometry, index, felt, weights, biases)
    assert pooled[0, 0].isnan().all()
    assert not pooled[0, 1:].isnan().any()
    pooled.sum().backward()
    assert weights[0].grad is not None
    assert weights[0].grad.isnan().all()


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    geometry, index, felt, weights, biases = inputs(depth=3, points=True)
    results = []
    for device in ("cpu", "cuda"):
        leaves = [w.to(device).requires_grad_() for w in weights]
        there = None if felt is None else felt.to(device)
        pooled = grouped_maximum(
            geometry.to(device), index.to(device), there, leaves, [b.to(device) for b in biases]
        )
        results.append([pooled.cpu(), *(g.cpu() for g in torch.autograd.grad(pooled.sum(), leaves))])
    for ours, want in zip(*results, strict=True):
        torch.testing.assert_close(ours, want, rtol=1e-4, atol=1e-4)
