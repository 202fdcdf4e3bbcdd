"""Are a user's clouds read with their colors and masks, and what does not fit refused by a sentence?"""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from sceneleapultra.evaluation.requests import GraspRequest

EYE, UP = (0.4, 0.0, 0.5), (0.0, 0.0, 2.0)


@pytest.fixture
def cloud() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of a table and of a block on it, their colors, and which are the block's."""
    rng = np.random.default_rng(0)
    table = np.concatenate([rng.uniform(-0.2, 0.2, (800, 2)), np.zeros((800, 1))], axis=1)
    block = rng.uniform([-0.03, -0.03, 0.02], [0.03, 0.03, 0.08], (200, 3))
    rgb = rng.integers(0, 256, (1000, 3)).astype(np.uint8)
    return np.concatenate([table, block]), rgb, np.arange(1000) >= 800


def read(path: Path, mask: str | None = None) -> GraspRequest:
    return GraspRequest.from_cloud(path, mask, EYE, UP)


def test_a_ply_with_colors(cloud, tmp_path: Path) -> None:
    points, rgb, is_block = cloud
    trimesh.PointCloud(points, colors=rgb).export(tmp_path / "c.ply")
    request = read(tmp_path / "c.ply")
    np.testing.assert_allclose(request.points, points, atol=1e-6)
    assert request.rgb is not None
    np.testing.assert_array_equal(request.rgb, rgb)
    np.testing.assert_array_equal(request.object_mask, is_block)  # what stands above the table
    np.testing.assert_array_equal(request.up, [0.0, 0.0, 1.0])


def test_a_ply_without_colors(cloud, tmp_path: Path) -> None:
    trimesh.PointCloud(cloud[0]).export(tmp_path / "c.ply")
    assert read(tmp_path / "c.ply").rgb is None


def test_an_npz_brings_its_colors_and_its_mask_unless_another_is_named(cloud, tmp_path: Path) -> None:
    points, rgb, _ = cloud
    mask = np.arange(1000) % 2 == 0
    np.savez(tmp_path / "c.npz", points=points, rgb=rgb, mask=mask)
    request = read(tmp_path / "c.npz")
    assert request.rgb is not None
    np.testing.assert_array_equal(request.rgb, rgb)
    np.testing.assert_array_equal(request.object_mask, mask)
    assert read(tmp_path / "c.npz", "all").object_mask.all()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"points": np.zeros((5, 2))}, r"expected floats of shape \(n, 3\) in metres, got float64 \(5, 2\)"),
        ({"rgb": np.zeros((1000, 3))}, r"expected colors as uint8 of shape \(1000, 3\).*Multiply colors"),
        ({"mask": np.zeros(7, bool)}, "c.npz, mask: expected 1000 booleans, one per point, got bool"),
    ],
)
def test_what_does_not_fit_is_refused(cloud, tmp_path: Path, changed: dict, sentence: str) -> None:
    arrays = dict(zip(("points", "rgb", "mask"), cloud, strict=True)) | changed
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path / "c.npz")
