"""Local frames: the closed-form eigenvector against LAPACK, orientation, and behavior under turns."""

import torch
from torch.testing import assert_close

from sceneleapultra.models.network.frames import local_frames, smallest_eigenvector


def test_smallest_eigenvector_matches_lapack():
    points = torch.randn(500, 12, 3, dtype=torch.float64) * torch.tensor([1.0, 0.7, 0.2], dtype=torch.float64)
    A = points.transpose(-1, -2) @ points
    expected = torch.linalg.eigh(A).eigenvectors[..., 0]
    found = smallest_eigenvector(A)
    assert_close((found * expected).sum(-1).abs(), torch.ones(500, dtype=torch.float64), atol=1e-6, rtol=0)


def test_frame_of_a_plane_faces_the_camera_and_leans_up():
    # Points of the plane x = 0, camera on the +x side: normal (1, 0, 0), tangent up (0, 0, 1).
    yz = torch.rand(1, 5, 16, 2) * 0.01
    patch = torch.cat([torch.zeros(1, 5, 16, 1), yz], -1)
    frames = local_frames(
        patch,
        torch.ones(1, 5, 16, dtype=torch.bool),
        patch.mean(-2),
        torch.tensor([[1.0, 0.2, 0.3]]),
        torch.tensor([[0.0, 0.0, 1.0]]),
    )
    assert_close(frames[0, 0, :, 2], torch.tensor([1.0, 0.0, 0.0]), atol=1e-4, rtol=0)
    assert_close(frames[0, 0, :, 0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-4, rtol=0)


def test_frames_are_rotations_even_for_a_lonely_point():
    patch = torch.rand(2, 7, 10, 3) * 0.02
    valid = torch.rand(2, 7, 10) < 0.6
    valid[0, 0] = False
    valid[0, 0, 0] = True
    frames = local_frames(
        patch, valid, patch[:, :, 0], torch.rand(2, 3) + 1.0, torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    )
    assert_close(frames.transpose(-1, -2) @ frames, torch.eye(3).expand_as(frames), atol=1e-4, rtol=0)
    assert_close(torch.linalg.det(frames), torch.ones(2, 7), atol=1e-4, rtol=0)
