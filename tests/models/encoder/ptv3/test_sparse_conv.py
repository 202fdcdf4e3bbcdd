"""Is the sparse convolution the dense one at occupied voxels, with the right gradients, and clouds kept apart?"""

import pytest
import torch
from torch.testing import assert_close

from factories.ptv3 import surface
from sceneleapultra.models.network.encoder.ptv3.row_gather import RowGather
from sceneleapultra.models.network.encoder.ptv3.sparse_conv import convolve, find_pairs


def clouds(*sizes: int, side: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    grids = [surface(n, seed, side) for seed, n in enumerate(sizes)]
    return torch.cat(grids), torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


@pytest.mark.parametrize("kernel", [3, 5])
def test_equals_the_dense_convolution(kernel):
    grid, batch = clouds(250, 180, 1)
    x, weight = torch.randn(len(grid), 4), torch.randn(6, kernel, kernel, kernel, 4)
    volume = torch.zeros(3, 4, *(grid.amax(0) + 1))
    volume[batch, :, *grid.T] = x
    dense = torch.nn.functional.conv3d(volume, weight.permute(0, 4, 1, 2, 3), padding=kernel // 2)
    out = convolve(x, weight, find_pairs(grid, batch, kernel))
    assert_close(out, dense[batch, :, *grid.T], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
def test_pairs_are_all_neighbors_and_no_others(kernel):
    grid, batch = clouds(120, 90)
    pairs, r = find_pairs(grid, batch, kernel), kernel // 2
    offset = grid[None] - grid[:, None]  # [target, source]
    near = (offset.abs().amax(-1) <= r) & (batch[None] == batch[:, None])
    target, source = near.nonzero(as_tuple=True)
    tap = ((offset[target, source] + r) * torch.tensor([kernel**2, kernel, 1])).sum(-1)
    expected = sorted(zip(tap.tolist(), target.tolist(), source.tolist(), strict=True))
    taps = torch.arange(kernel**3).repeat_interleave(pairs.ends.diff(prepend=pairs.ends.new_zeros(1)))
    found = sorted(zip(taps.tolist(), pairs.target.tolist(), pairs.source.tolist(), strict=True))
    assert found == expected
    assert (taps.diff() >= 0).all()


def test_neighbors_at_the_border_do_not_wrap_into_the_next_line_or_cloud():
    # The far end of one line and the near end of the next, in one cloud and across two.
    grid = torch.tensor([[0, 0, 3], [0, 1, 0], [3, 3, 3], [0, 0, 0]])
    pairs = find_pairs(grid, torch.tensor([0, 0, 0, 1]), 5)
    assert pairs.source.tolist() == pairs.target.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("dim_in", "dim_out"), [(3, 2), (8, 16)])
def test_gradients_are_those_of_the_dense_convolution(dim_in, dim_out):
    grid, batch = clouds(20, 9, side=6)
    x = torch.randn(len(grid), dim_in, requires_grad=True)
    weight = torch.randn(dim_out, 3, 3, 3, dim_in, requires_grad=True)
    upstream = torch.randn(len(grid), dim_out)
    found = torch.autograd.grad(convolve(x, weight, find_pairs(grid, batch, 3)), (x, weight), upstream)
    volume = torch.zeros(2, dim_in, *(grid.amax(0) + 1), dtype=torch.double)
    filled = volume.index_put((batch[:, None], torch.arange(dim_in), *grid.T[..., None]), x.double())
    dense = torch.nn.functional.conv3d(filled, weight.double().permute(0, 4, 1, 2, 3), padding=1)
    at_voxels = dense[batch, :, *grid.T]
    expected = torch.autograd.grad(at_voxels, (x, weight), upstream.double())
    for mine, true in zip(found, expected, strict=True):
        assert_close(mine, true, atol=1e-5, rtol=1e-5)


def test_gradients_of_gathering_and_of_the_largest():
    rows = RowGather(index=torch.tensor([4, 0, 0, 2, 4, 4, 1]), num_sources=6)
    x = torch.randn(6, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(rows, (x,))
    assert_close(rows(x), x[rows.index], atol=0, rtol=0)
    filled = RowGather(index=torch.tensor([1, 0, 0, 1, 2]), num_sources=3)
    values = torch.randn(5, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(filled.max, (values,))
    expected = torch.stack([values[[1, 2]].amax(0), values[[0, 3]].amax(0), values[4]])
    assert_close(filled.max(values), expected, atol=0, rtol=0)


def test_the_gradient_of_the_largest_does_not_depend_on_what_the_memory_held():
    """Freed tensors with the very results are what new ones are made of; a tie with them would halve the gradient."""
    rows = RowGather(index=torch.arange(64).repeat(3), num_sources=64)
    for _ in range(30):
        values = torch.linspace(0, 1, 192 * 8).view(192, 8).requires_grad_()
        rows.max(values).sum().backward()
        # The last 64 rows are the largest.
        assert values.grad.sum() == 64 * 8 and (values.grad[128:] == 1).all()


def test_autocast_computes_in_half_precision_and_keeps_the_gradients_types():
    grid, batch = clouds(60)
    pairs = find_pairs(grid, batch, 3)
    x, weight = torch.randn(60, 8, requires_grad=True), torch.randn(8, 3, 3, 3, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = convolve(x, weight, pairs)
    assert out.dtype == torch.bfloat16
    out.float().square().mean().backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32
    exact = convolve(x, weight, pairs)
    assert (out - exact).abs().max() < 0.03 * exact.abs().max()
