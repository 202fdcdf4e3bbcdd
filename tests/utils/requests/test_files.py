"""Are a user's files read with their colors and masks, and what does not fit refused by a sentence?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from factories.camera_view import camera_view
from sceneleapultra.utils.requests.files import is_mesh, read_mask, read_sensor

RNG = np.random.default_rng(0)
POINTS, RGB = RNG.normal(size=(100, 3)), RNG.integers(0, 256, (100, 3)).astype(np.uint8)
MASK = np.arange(100) % 2 == 0


def test_ply_with_and_without_colors(tmp_path: Path) -> None:
    trimesh.PointCloud(POINTS, colors=RGB).export(tmp_path / "c.ply")
    trimesh.PointCloud(POINTS).export(tmp_path / "d.ply")
    cloud = read_sensor(tmp_path / "c.ply", None, None)
    np.testing.assert_allclose(cloud.points, POINTS, atol=1e-6)
    np.testing.assert_array_equal(cloud.rgb, RGB)
    assert read_sensor(tmp_path / "d.ply", None, None).rgb is None
    assert not is_mesh(tmp_path / "c.ply")
    trimesh.creation.box().export(tmp_path / "m.ply")
    assert is_mesh(tmp_path / "m.ply") and is_mesh(tmp_path) and not is_mesh(tmp_path / "none.ply")


def test_npz_brings_its_colors_and_its_mask(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", points=POINTS, rgb=RGB, mask=MASK)
    cloud = read_sensor(tmp_path / "c.npz", None, None)
    np.testing.assert_array_equal(cloud.points, POINTS)
    np.testing.assert_array_equal(cloud.rgb, RGB)
    np.testing.assert_array_equal(cloud.mask, MASK)


def test_one_depth_image_in_every_file(tmp_path: Path) -> None:
    view = camera_view()
    image = np.rint(np.nan_to_num(view.depth) * 1000).astype(np.uint16)
    Image.fromarray(image).save(tmp_path / "d.png")
    np.save(tmp_path / "d.npy", image)
    np.savez(tmp_path / "d.npz", depth=image, depth_scale=0.001, K=view.K, mask=view.box == 0)
    png = read_sensor(tmp_path / "d.png", view.K, 0.001)
    npy = read_sensor(tmp_path / "d.npy", view.K, 0.001)
    npz = read_sensor(tmp_path / "d.npz", None, None)
    np.testing.assert_array_equal(png.points, npy.points)
    np.testing.assert_array_equal(png.points, npz.points)
    assert npz.mask is not None and npz.mask.sum() == (view.box == 0).sum()
    np.testing.assert_allclose(png.points[60, 80, 2], view.depth[60, 80], atol=0.001)
    with pytest.raises(
        ValueError, match=r"is a depth image, whose points depend on its camera. Pass --intrinsics"
    ):
        read_sensor(tmp_path / "d.png", None, 0.001)
    with pytest.raises(ValueError, match="of which unit"):
        read_sensor(tmp_path / "d.png", view.K, None)


def test_masks_are_black_and_white(tmp_path: Path) -> None:
    mask = camera_view().box == 0
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "m.png")
    Image.fromarray(np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255).save(tmp_path / "rgb.png")
    Image.fromarray(mask.astype(np.uint8) * 100 + (np.arange(160) % 3 == 0)).save(tmp_path / "soft.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "rgb.png"), mask)
    with pytest.raises(ValueError, match="expected an image of two values"):
        read_mask(tmp_path / "soft.png")
    with pytest.raises(
        FileNotFoundError, match=r"--mask: there is no file above-table\. .*without --mask the object"
    ):
        read_mask(Path("above-table"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"points": np.zeros((5, 2))},
            r"expected floats of shape \(n, 3\) or \(h, w, 3\) in metres, got float64 \(5, 2\)",
        ),
        ({"points": np.zeros((5, 6))}, "Pass colors separately"),
        ({"rgb": np.zeros((100, 3))}, r"expected colors as uint8 of shape \(100, 3\).*Multiply colors"),
        ({"mask": np.zeros(7, bool)}, r"c.npz, mask: expected booleans, one per point, shape \(100,\)"),
    ],
)
def test_arrays_that_do_not_fit(changed: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", **({"points": POINTS, "rgb": RGB, "mask": MASK} | changed))
    with pytest.raises(ValueError, match=sentence):
        read_sensor(tmp_path / "c.npz", None, None)


@pytest.mark.parametrize("scale", [np.ones(2), np.array("mm"), np.array(True)])
def test_the_unit_of_depth_is_one_number(scale: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", depth=np.ones((2, 2), np.uint16), K=np.eye(3), depth_scale=scale)
    with pytest.raises(ValueError, match=r"d\.npz, depth_scale: expected one number, .* got .* of shape"):
        read_sensor(tmp_path / "d.npz", None, None)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.ply", None, "There is no depth image, cloud or mesh at"),
        ("e.ply", b"", "is empty"),
        ("c.txt", b"1 2 3", "expected a depth image"),
        ("c.npy", b"\x93NUMPY\x01", "expected a complete .npy file"),
        ("c.npz", b"PK\x03\x04 cut", "expected a complete .npz file"),
        (
            "c.ply",
            b"ply\nformat binary_little_endian 1.0\nelement vertex 9\n",
            "expected a complete .ply file",
        ),
        ("c.png", b"\x89PNG\r\n\x1a\n", "expected a complete depth image"),
        ("c.pcd", b"version https://git-lfs.github.com/spec/v1\n", "expected the header of a .pcd file"),
    ],
)
def test_files_that_are_none(name: str, content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        read_sensor(tmp_path / name, None, None)


def test_npy_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"expected a complete .npy file of numbers"):
        read_sensor(tmp_path / "o.npy", None, None)


def test_a_picture_of_depth_is_no_depth(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "d.png")
    with pytest.raises(ValueError, match=r"8 bits per pixel .*a picture of depth, not depth"):
        read_sensor(tmp_path / "d.png", None, 0.001)
