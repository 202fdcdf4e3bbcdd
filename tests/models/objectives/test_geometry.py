"""Distances between hands: exact numbers, gradients, and a brute-force Chamfer distance."""

import torch
from torch.testing import assert_close

from sceneleapultra.models.objectives.geometry import chamfer_distance, mean_distance


def test_points_of_equal_index_are_compared():
    """3-4-5 triangles: 5 cm for one point, 10 cm for the other, 7.5 cm on average."""
    true = torch.randn(1, 1, 2, 3)
    shift = torch.tensor([[[[0.03, 0.04, 0.0], [0.0, 0.06, 0.08]]]])
    assert_close(mean_distance(true + shift, true), torch.tensor([[0.075]]))
    assert_close(mean_distance(true, true), torch.zeros(1, 1), atol=1e-6, rtol=0)


def test_a_shift_is_pulled_back_along_itself():
    """d |s| / dx = s / |s|, shared by the points."""
    true = torch.randn(1, 1, 4, 3)
    predicted = (true + torch.tensor([0.0, 0.0, 0.02])).requires_grad_(True)
    mean_distance(predicted, true).sum().backward()
    assert_close(predicted.grad, torch.tensor([0.0, 0.0, 0.25]).expand(1, 1, 4, 3), atol=1e-5, rtol=0)


def test_equal_hands_have_no_gradient_and_no_nan():
    true = torch.randn(2, 3, 5, 3)
    predicted = true.clone().requires_grad_(True)
    (mean_distance(predicted, true) + chamfer_distance(predicted, true)).sum().backward()
    assert torch.equal(predicted.grad, torch.zeros_like(true))


def brute_chamfer(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    apart = (a[..., :, None, :] - b[..., None, :, :]).norm(dim=-1)
    return 0.5 * (apart.amin(-1).mean(-1) + apart.amin(-2).mean(-1))


def test_chamfer_of_three_points():
    # One point to two: 1 to the nearest of both; back: 1 and 3, on average 2. (1 + 2) / 2.
    one, two = torch.zeros(1, 1, 1, 3), torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]]]])
    assert_close(chamfer_distance(one, two), torch.tensor([[1.5]]))
    assert_close(chamfer_distance(two, one), torch.tensor([[1.5]]))


def test_chamfer_is_that_of_all_pairs_with_its_gradient():
    a, b = torch.randn(2, 3, 40, 3, dtype=torch.float64), torch.randn(2, 3, 30, 3, dtype=torch.float64)
    x, y = a.clone().requires_grad_(True), a.clone().requires_grad_(True)
    value, brute = chamfer_distance(x, b), brute_chamfer(y, b)
    assert_close(value, brute)
    value.sum().backward()
    brute.sum().backward()
    assert_close(x.grad, y.grad)


def test_chamfer_forgets_the_order_and_keeps_millimetres_far_from_the_origin():
    true = 0.1 * torch.randn(1, 1, 64, 3)
    moved = true + 0.001 * torch.nn.functional.normalize(torch.randn(1, 1, 64, 3), dim=-1)
    near = chamfer_distance(moved[:, :, torch.randperm(64)], true)
    assert_close(near, brute_chamfer(moved, true))
    # 10 m away float32 itself ends at a micrometre.
    assert_close(chamfer_distance(moved + 10.0, true + 10.0), near, atol=5e-6, rtol=0)


def test_distances_do_not_change_with_the_frame():
    a, b = torch.randn(1, 2, 20, 3, dtype=torch.float64), torch.randn(1, 2, 20, 3, dtype=torch.float64)
    R = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    for distance in (mean_distance, chamfer_distance):
        assert_close(distance(a @ R + 0.3, b @ R + 0.3), distance(a, b))
