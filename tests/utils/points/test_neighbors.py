"""Are neighbors, balls and interpolated values those of brute force, ties, masks and far clouds included?"""

import pytest
import torch
from torch.testing import assert_close

from sceneleapultra.utils.geometry.points import ball_query, gather, interpolate, knn
from sceneleapultra.utils.geometry.points import neighbors as module


def cloud(b: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(b, n, 3, generator=torch.Generator().manual_seed(seed))


def brute_force(query: torch.Tensor, points: torch.Tensor, k: int, valid: torch.Tensor | None = None):
    """The k least of all exact distances by a stable sort, so that ties go to the lowest index."""
    distances = (query.double()[:, :, None] - points.double()[:, None]).square().sum(-1).sqrt()
    if valid is not None:
        distances = distances.masked_fill(~valid[:, None], torch.inf)
    ordered, index = distances.sort(dim=-1, stable=True)
    return index[..., :k], ordered[..., :k].float()


@pytest.mark.parametrize("n", [5, 64, 301, 2000])  # 301 is no multiple of a block
@pytest.mark.parametrize("k", [1, 5])
def test_neighbors_are_brute_force(n: int, k: int) -> None:
    points, query = cloud(3, n), cloud(3, 20, seed=1)
    index, distance = knn(query, points, k)
    expected, distances = brute_force(query, points, k)
    assert torch.equal(index, expected)
    assert_close(distance, distances)


def test_neighbors_are_exact_far_from_the_origin() -> None:
    points = cloud(2, 300) + 1000.0
    indices, distances = knn(points, points, 4)
    assert torch.equal(indices[..., 0], torch.arange(300).repeat(2, 1))
    assert (distances[..., 0] == 0).all()
    assert_close(distances, brute_force(points, points, 4)[1])
    assert_close((gather(points, indices) - points[:, :, None]).norm(dim=-1), distances)


def test_ties_go_to_the_lowest_index() -> None:
    # A lattice has exact ties in float32, also across the blocks that are searched first; every point twice.
    axis = torch.arange(6.0)
    lattice = torch.cartesian_prod(axis, axis, axis).repeat(2, 1)[None]
    for k in (1, 7, 20):
        assert torch.equal(knn(lattice, lattice, k)[0], brute_force(lattice, lattice, k)[0])


def test_the_origin_is_a_place_like_any_other() -> None:
    """The common kernels skip points within 3 cm of the origin, taking them for padding."""
    points = torch.cat([torch.zeros(1, 1, 3), cloud(1, 40) * 0.02, cloud(1, 40) + 1.0], 1)
    index, inside = ball_query(torch.zeros(1, 1, 3), points, 0.05, 41)
    assert inside.all() and set(index.flatten().tolist()) == set(range(41))


def test_masked_points_are_no_neighbors() -> None:
    points = cloud(2, 500)
    valid = torch.rand(2, 500, generator=torch.Generator().manual_seed(2)) < 0.3
    assert torch.equal(knn(points, points, 9, valid)[0], brute_force(points, points, 9, valid)[0])
    valid = torch.zeros(2, 500, dtype=torch.bool)
    valid[:, [2, 7]] = True
    indices, distances = knn(points, points, 3, valid)
    assert set(indices[..., :2].unique().tolist()) == {2, 7}
    assert torch.isinf(distances[..., 2]).all() and (indices < 500).all()
    with pytest.raises(ValueError, match="got k=501"):
        knn(points, points, 501)


def test_pairs_looked_at_together_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = cloud(2, 400)
    whole = knn(points, points, 6)
    monkeypatch.setattr(module, "_PAIRS_CPU", 5000)
    parts = knn(points, points, 6)
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[1], parts[1])


def test_ball_holds_the_nearest_within_the_radius() -> None:
    points = cloud(2, 200)
    query = points[:, :5]
    indices, inside = ball_query(query, points, 0.2, 16)
    expected, distances = brute_force(query, points, 16)
    assert torch.equal(inside, distances <= 0.2)
    # Where nothing is left the nearest point stands in.
    assert torch.equal(indices, torch.where(distances <= 0.2, expected, expected[..., :1]))
    assert inside.any() and not inside.all()


def test_interpolation_is_the_formula() -> None:
    points, query = cloud(2, 50), cloud(2, 30, seed=1)
    features = torch.randn(2, 50, 4)
    index, distance = brute_force(query, points, 3)
    expected = torch.zeros(2, 30, 4)
    for b in range(2):
        for q in range(30):
            weight = 1.0 / distance[b, q] ** 2
            expected[b, q] = (weight[:, None] * features[b, index[b, q]]).sum(0) / weight.sum()
    assert_close(interpolate(query, points, features), expected, atol=1e-4, rtol=1e-4)


def test_interpolation_at_a_point_is_its_feature_and_masked_points_have_no_say() -> None:
    points, features = cloud(2, 50), torch.randn(2, 50, 4)
    assert_close(interpolate(points, points, features), features, atol=1e-4, rtol=1e-4)
    valid = torch.zeros(2, 50, dtype=torch.bool)
    valid[0, 3] = True
    only = interpolate(points, points, features, valid)
    assert_close(only[0], features[0, 3].expand(50, -1))  # the one valid point, everywhere
    assert_close(only[1], torch.zeros(50, 4))  # no valid point
    one_point = interpolate(points, points[:, :1], features[:, :1])
    assert_close(one_point, features[:, :1].expand(-1, 50, -1))


def test_gather_takes_any_number_of_axes_and_any_type() -> None:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, 7, (2, 3, 4), generator=generator)
    for values in (cloud(2, 7), torch.rand(2, 7) < 0.5, torch.rand(2, 7, 3, 3), torch.arange(14).view(2, 7)):
        picked = gather(values, index)
        for b in range(2):
            assert torch.equal(picked[b], values[b][index[b]])


def test_gather_sends_gradients_back_to_every_row() -> None:
    values = torch.rand(2, 4, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, 0, 3], [2, 2, 2]])
    assert torch.autograd.gradcheck(lambda v: gather(v, index), (values,))
