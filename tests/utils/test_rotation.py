import pytest
import roma
import torch

from sceneleapultra.utils.geometry.rotation import (
    geodesic_distance,
    matrix_from_quat_wxyz,
    matrix_from_rot6d,
    quat_wxyz_from_matrix,
    quat_wxyz_product,
    rot6d_from_matrix,
    so3_exp,
)


def rotations(n=200):
    half_turns = roma.rotvec_to_rotmat(
        torch.pi * torch.nn.functional.normalize(torch.randn(20, 3, dtype=torch.float64))
    )
    axes = roma.rotvec_to_rotmat(torch.pi * torch.eye(3, dtype=torch.float64))
    eye = torch.eye(3, dtype=torch.float64)[None]
    return torch.cat((roma.random_rotmat(n, dtype=torch.float64), half_turns, axes, eye))


def test_rot6d_is_the_first_two_rows_and_round_trips():
    R = rotations()
    rot6d = rot6d_from_matrix(R)
    torch.testing.assert_close(rot6d, R[:, :2].reshape(-1, 6))
    torch.testing.assert_close(matrix_from_rot6d(rot6d), R)


def test_rot6d_decoding_agrees_with_roma():
    # roma orthonormalizes columns: ours of rows is its transpose.
    raw = torch.randn(100, 6, dtype=torch.float64)
    theirs = roma.special_gramschmidt(raw.unflatten(-1, (2, 3)).transpose(-1, -2)).transpose(-1, -2)
    torch.testing.assert_close(matrix_from_rot6d(raw), theirs)


def test_quaternions_agree_with_roma_and_have_a_canonical_sign():
    R = rotations()
    quat = quat_wxyz_from_matrix(R)
    torch.testing.assert_close(matrix_from_quat_wxyz(quat), R)
    torch.testing.assert_close(roma.unitquat_to_rotmat(quat[:, [1, 2, 3, 0]]), R)
    assert (quat[:, 0] >= 0).all()
    torch.testing.assert_close(matrix_from_quat_wxyz(-3 * quat), R)


def test_exp_agrees_with_roma():
    rotvec = torch.randn(200, 3, dtype=torch.float64)
    rotvec[:50] *= 1e-5
    torch.testing.assert_close(so3_exp(rotvec), roma.rotvec_to_rotmat(rotvec))
    R = rotations()
    torch.testing.assert_close(so3_exp(roma.rotmat_to_rotvec(R)), R)


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-3, 1.0])
def test_exp_has_gradients_down_to_zero(scale):
    rotvec = (scale * torch.tensor([[0.3, -0.5, 0.7]], dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(so3_exp, (rotvec,))


def test_geodesic_distance_from_tiny_to_half_turn():
    axis = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64), dim=-1)
    angles = torch.tensor([1e-7, 1e-3, 1.0, 2.0, 3.1, torch.pi - 1e-7], dtype=torch.float64)
    R = roma.random_rotmat(dtype=torch.float64)
    torch.testing.assert_close(
        geodesic_distance(R.expand(6, 3, 3), R @ so3_exp(angles[:, None] * axis)),
        angles,
        atol=1e-9,
        rtol=1e-6,
    )
    same = R[None].clone().requires_grad_()
    geodesic_distance(same, R[None]).sum().backward()
    assert torch.isfinite(same.grad).all()


def test_product_of_quaternions_is_the_product_of_matrices():
    first, second = (
        torch.nn.functional.normalize(torch.randn(20, 4, dtype=torch.float64), dim=-1) for _ in "ab"
    )
    torch.testing.assert_close(
        matrix_from_quat_wxyz(quat_wxyz_product(first, second)),
        matrix_from_quat_wxyz(first) @ matrix_from_quat_wxyz(second),
    )
