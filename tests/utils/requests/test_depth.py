"""Does a depth image become points in metres, whatever form its numbers and its camera's have?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from factories.camera_view import camera_view
from sceneleapultra.utils.requests import GraspRequest, Target
from sceneleapultra.utils.requests.depth import camera_matrix, cloud_of_depth, intrinsics_of, read_intrinsics

FOUR = (150.0, 151.0, 79.5, 59.5)
K = [[150.0, 0.0, 79.5], [0.0, 151.0, 59.5], [0.0, 0.0, 1.0]]


def test_points_are_those_of_a_pinhole_camera() -> None:
    depth = np.full((120, 160), 2.0)
    cloud = cloud_of_depth(depth, FOUR, scale=None, source="d")
    assert cloud.frame == "camera" and cloud.grid == (120, 160)
    assert_allclose(cloud.points[59, 79], [-0.5 / 150 * 2, -0.5 / 151 * 2, 2.0])
    assert_allclose(cloud.points[119, 0], [-79.5 / 150 * 2, 59.5 / 151 * 2, 2.0])


@pytest.mark.parametrize(
    "given",
    [
        {"fx": 150.0, "fy": 151.0, "cx": 79.5, "cy": 59.5},
        {"fx": 150.0, "fy": 151.0, "ppx": 79.5, "ppy": 59.5, "width": 160},  # librealsense
        {"K": K},
        {"k": [x for row in K for x in row]},  # ROS 2
        {"camera_matrix": {"rows": 3, "data": [x for row in K for x in row]}},  # camera_calibration
        {"intrinsic_matrix": [150.0, 0, 0, 0, 151.0, 0, 79.5, 59.5, 1]},  # Open3D: column by column
    ],
)
def test_every_usual_file_of_intrinsics_is_read(given: Any, tmp_path: Path) -> None:
    (tmp_path / "camera.json").write_text(json.dumps(given))
    numbers = read_intrinsics([str(tmp_path / "camera.json")])
    assert_allclose(camera_matrix(numbers, "camera", (120, 160)), K)


def test_intrinsics_on_the_command_line() -> None:
    assert_allclose(camera_matrix(read_intrinsics(["150", "151", "79.5", "59.5"]), "c", (120, 160)), K)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((1.0, 2.0), "expected fx fy cx cy"),
        ((float("nan"), 151.0, 79.5, 59.5), "expected fx fy cx cy"),
        ("abc", "expected fx fy cx cy"),
        ((615.0, 615.0, 320.0, 240.0), r"principal point \(320, 240\) lies outside the image of 160 x 120"),
        ((6150.0, 6150.0, 79.5, 59.5), "focal lengths 6150 and 6150 are not those of an image of 160 x 120"),
    ],
)
def test_intrinsics_of_no_camera_or_of_another_resolution(numbers: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        camera_matrix(numbers, "intrinsics", (120, 160))


def test_files_without_intrinsics(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_intrinsics([str(tmp_path / "none.json")])
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON file"):
        read_intrinsics([str(tmp_path / "c.json")])
    with pytest.raises(ValueError, match=r"expected fx, fy, cx and cy .* got width"):
        intrinsics_of({"width": 3}, "c.json")
    for K in ("foo", [[1, 2], [3]], {"a": 1}):
        with pytest.raises(
            ValueError, match=r"^c\.json: expected fx, fy, cx and cy, or the numbers of K; got"
        ):
            intrinsics_of({"K": K}, "c.json")


def test_whole_numbers_need_their_unit() -> None:
    view = camera_view()
    millimetres = np.rint(np.nan_to_num(view.depth) * 1000).astype(np.uint16)
    with pytest.raises(
        ValueError, match=r"whole numbers up to \d+: of which unit\? Pass --depth-scale 0.001"
    ):
        GraspRequest.from_depth(millimetres, view.K)
    request = GraspRequest.from_depth(millimetres, view.K, depth_scale=0.001)
    metres = GraspRequest.from_depth(view.depth, view.K)
    assert_allclose(request.points, metres.points, atol=0.002)
    with pytest.raises(ValueError, match="must be in metres: divide millimetres by 1000"):
        GraspRequest.from_depth(1000.0 * view.depth, view.K)
    with pytest.raises(ValueError, match="depth_scale must be the metres of one unit"):
        GraspRequest.from_depth(millimetres, view.K, depth_scale=0.0)


@pytest.mark.parametrize("largest", [65535, 10000])  # of the type, or where a camera stops
def test_pixels_without_depth_are_left_out_with_their_mask_and_color(largest: int) -> None:
    view = camera_view(noise_m=0.0)
    image = np.rint(np.nan_to_num(view.depth) * 1000).astype(np.uint16)
    mask, rng = view.box == 0, np.random.default_rng(0)
    holes = rng.random(image.shape) < 0.2
    image[holes] = np.where(rng.random(holes.sum()) < 0.5, 0, largest)
    rgb = rng.integers(0, 255, (*image.shape, 3)).astype(np.uint8)
    request = GraspRequest.from_depth(
        image, view.K, depth_scale=0.001, target=Target(mask=mask), rgb=rgb, up=view.up
    )
    valid = np.isfinite(view.depth) & ~holes
    assert len(request.points) == valid.sum() and request.points[:, 2].max() < 4.0
    np.testing.assert_array_equal(request.object_mask, mask[valid])
    np.testing.assert_array_equal(request.rgb, rgb[valid])
    assert f"{(~valid).sum():,} of {valid.size:,} points hold no surface" in request.notes[0]


def test_a_table_moved_to_above_without_noise_is_no_end_of_the_range() -> None:
    depth = np.full((120, 160), 0.6)
    depth[40:80, 60:100] = 0.5
    cloud = GraspRequest.from_points(
        cloud_of_depth(depth, FOUR, scale=None, source="d").points,
        target=Target(mask=np.arange(19200).reshape(120, 160) < 99),
        up=(0, 0, -1),
    )
    assert len(cloud.points) == depth.size
