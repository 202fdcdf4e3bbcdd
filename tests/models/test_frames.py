"""Local frames: the closed-form eigenvector against LAPACK, orientation, and behavior under turns."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from sceneleapultra.models.network.frames import local_frames, smallest_eigenvector


def nearly_equal(gap: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return matrices with eigenvalues 0.001, 0.001 + gap and 1, in single precision, and their least eigenvectors."""
    axes = torch.linalg.qr(torch.randn(500, 3, 3, dtype=torch.float64)).Q
    A = ((axes * torch.tensor([1e-3, 1e-3 + gap, 1.0])) @ axes.transpose(-1, -2)).float()
    return A, torch.linalg.eigh(A.double()).eigenvectors[..., 0]


def test_smallest_eigenvector_matches_lapack():
    points = torch.randn(500, 12, 3, dtype=torch.float64) * torch.tensor([1.0, 0.7, 0.2], dtype=torch.float64)
    A = points.transpose(-1, -2) @ points
    expected = torch.linalg.eigh(A).eigenvectors[..., 0]
    found = smallest_eigenvector(A)
    assert_close((found * expected).sum(-1).abs(), torch.ones(500, dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_normal_is_as_near_as_single_precision_where_two_eigenvalues_nearly_agree():
    for gap in (1e-1, 1e-2, 1e-3):
        A, expected = nearly_equal(gap)
        found = smallest_eigenvector(A).double()
        found *= (found * expected).sum(-1, keepdim=True).sign()
        assert_close(found, expected, atol=1e-7, rtol=0)


@pytest.mark.slow
@pytest.mark.traced
@pytest.mark.filterwarnings("ignore")  # what exporters say of themselves
def test_its_graph_is_as_near(tmp_path: Path) -> None:
    """Exporters round numbers that Python holds to single precision: none of them may decide."""
    pytest.importorskip("onnxscript")
    engine = pytest.importorskip("onnxruntime")

    class Eigenvector(torch.nn.Module):
        def forward(self, A: torch.Tensor) -> torch.Tensor:
            return smallest_eigenvector(A)

    A, expected = nearly_equal(1e-2)
    torch.onnx.export(Eigenvector(), (A,), dynamo=True, input_names=["A"], verbose=False).save(
        tmp_path / "it.onnx"
    )
    session = engine.InferenceSession(tmp_path / "it.onnx", providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"A": A.numpy()})[0]).double()
    assert_close(found * (found * expected).sum(-1, keepdim=True).sign(), expected, atol=1e-7, rtol=0)


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


def test_one_point_and_two_have_a_normal_that_rounding_does_not_choose():
    """Across a line, the coordinate axis that is most across it; for a single point, z."""
    torch.manual_seed(0)
    line = torch.nn.functional.normalize(torch.randn(1, 200, 3), dim=-1)
    patch = torch.randn(1, 200, 6, 3)
    patch[:, :, 0], patch[:, :, 3] = 0.0, 0.01 * line
    valid = torch.zeros(1, 200, 6, dtype=torch.bool)
    valid[..., 0], valid[:, 20:, 3] = True, True
    away, up = torch.tensor([[0.3, 0.2, 5.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    normal = local_frames(patch, valid, patch[:, :, 0], away, up)[..., 2]
    assert_close(normal[0, :20], up.expand(20, 3), atol=1e-6, rtol=0)
    most = torch.eye(3)[line[0, 20:].abs().argmin(-1)]
    expected = torch.nn.functional.normalize(
        most - (most * line[0, 20:]).sum(-1, keepdim=True) * line[0, 20:], dim=-1
    )
    along = (normal[0, 20:] * expected).sum(-1, keepdim=True)
    assert_close(normal[0, 20:], expected * along.sign(), atol=2e-3, rtol=0)
    for turn in range(3):  # as noise of a float's last bit would
        moved = patch * (1.0 + 1e-7 * torch.randn_like(patch))
        again = local_frames(moved, valid, moved[:, :, 0], away, up)[..., 2]
        assert (again - normal).abs().amax(-1).max() <= 2e-3, turn
