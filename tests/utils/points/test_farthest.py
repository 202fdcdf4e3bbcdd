"""Is the farthest-point order the one of its definition, prefixes, masks and ties included?"""

import numpy as np
import pytest
import torch

from sceneleapultra.utils.geometry.points import farthest_point_order, farthest_point_order_numpy, gather


def cloud(b: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(b, n, 3, generator=torch.Generator().manual_seed(seed))


def naive_order(points: np.ndarray, k: int, start: int) -> list[int]:
    """Farthest points by their definition."""
    order = [start]
    while len(order) < k:
        to_chosen = np.linalg.norm(points[:, None] - points[order], axis=-1).min(1)
        order.append(int(to_chosen.argmax()))
    return order


@pytest.mark.parametrize("start", [0, 17])
def test_order_is_the_definition_and_both_versions_agree(start: int) -> None:
    points = cloud(3, 200)
    order = farthest_point_order(points, 50, start)
    for i in range(3):
        assert order[i].tolist() == naive_order(points[i].double().numpy(), 50, start)
        assert order[i].tolist() == farthest_point_order_numpy(points[i].numpy(), 50, start).tolist()


def test_order_of_a_prefix_of_its_own_order_is_that_prefix() -> None:
    points = cloud(2, 600)
    ordered = gather(points, farthest_point_order(points, 600, start=5))
    for length in (1, 64, 333, 600):
        assert torch.equal(
            farthest_point_order(ordered[:, :length], length), torch.arange(length).repeat(2, 1)
        )
        again = farthest_point_order_numpy(ordered[0, :length].numpy(), length)
        assert np.array_equal(again, np.arange(length))


def test_ties_go_to_the_lowest_index_and_no_index_repeats() -> None:
    # From corner 0 of a square the opposite one is first, then 1 and 2 are equally far; 4 is a copy of 1.
    square = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]]])
    assert farthest_point_order(square, 5).tolist() == [[0, 3, 1, 2, 4]]
    assert farthest_point_order_numpy(square[0].numpy(), 5).tolist() == [0, 3, 1, 2, 4]


def test_masked_points_come_last() -> None:
    points = cloud(2, 40)
    valid = torch.ones(2, 40, dtype=torch.bool)
    valid[0, 0] = False
    valid[1, 10:] = False
    order = farthest_point_order(points, 20, valid=valid)
    assert valid.gather(1, order).tolist() == [[True] * 20, [True] * 10 + [False] * 10]
    assert order[0, 0] == 1  # the first valid point replaces a masked start
    assert torch.equal(order[1, :10], farthest_point_order(points[1:, :10], 10)[0])
    assert all(len(set(row)) == 20 for row in order.tolist())


@pytest.mark.parametrize("k, start", [(0, 0), (11, 0), (5, 10)])
def test_impossible_orders_are_refused(k: int, start: int) -> None:
    with pytest.raises(ValueError, match=r"Expected .* got"):
        farthest_point_order(cloud(1, 10), k, start)
    with pytest.raises(ValueError, match=r"Expected .* got"):
        farthest_point_order_numpy(cloud(1, 10)[0].numpy(), k, start)


def test_order_is_the_one_of_an_independent_library() -> None:
    quick = pytest.importorskip("torch_quickfps", reason="torch-quickfps is not installed")
    points = cloud(3, 700)
    assert torch.equal(farthest_point_order(points, 200), quick.sample_idx(points, 200, start_idx=0))
