"""Does a cloud get the same frame whatever frame it is given in?"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from sceneleapultra.utils.geometry.frames import CAMERA_MODES, cloud_frame, own_camera, table_height


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World points of a block on a table (z = 0), which are the block's, and a camera."""
    rng = np.random.default_rng(0)
    block = rng.uniform([0.0, 0.1, 0.0], [0.05, 0.18, 0.08], (300, 3))
    table = np.c_[rng.uniform(-0.2, 0.3, (500, 2)), rng.normal(0.0, 0.0005, 500)]
    T_world_cam = np.eye(4)
    T_world_cam[:3, :3] = Rotation.from_euler("x", 2.5).as_matrix()
    T_world_cam[:3, 3] = [0.1, -0.4, 0.5]
    return np.concatenate([block, table]), np.arange(800) < 300, T_world_cam


def frame(
    mode: str, points: np.ndarray, mask: np.ndarray, up: np.ndarray, T_cloud_camera: np.ndarray
) -> np.ndarray:
    return cloud_frame(mode, points, mask, up=up, T_cloud_object=None, T_cloud_camera=T_cloud_camera)


@pytest.mark.parametrize("mode", ["tabletop", *CAMERA_MODES])
def test_a_frame_is_the_same_whatever_the_cloud_is_given_in(mode) -> None:
    """Once in the world, once in the camera's frame, which is tilted against the table."""
    points, mask, T = scene()
    in_camera = (points - T[:3, 3]) @ T[:3, :3]
    found = T @ frame(mode, in_camera, mask, T[2, :3], own_camera(mode, np.zeros(3)))
    expected = frame(mode, points, mask, np.array([0.0, 0.0, 1.0]), T)
    if mode == "tabletop":  # which is free to turn about the vertical
        assert_allclose(found[2, :3], [0.0, 0.0, 1.0], atol=1e-9)
        assert_allclose(found[:3, 3], expected[:3, 3], atol=5e-4)
        assert_allclose(expected, np.block([[np.eye(3), expected[:3, 3:]], [0.0, 0.0, 0.0, 1.0]]), atol=1e-12)
        assert_allclose(expected[:3, 3], [*points[mask, :2].mean(0), 0.0], atol=5e-4)
    else:
        assert_allclose(found, expected, atol=1e-9)


def test_a_lonely_object_stands_on_its_lowest_point() -> None:
    points, mask, T_cam = scene()
    T = frame("tabletop", points[mask] + [0.0, 0.0, 0.3], mask[mask], np.array([0.0, 0.0, 1.0]), T_cam)
    assert T[2, 3] == pytest.approx(0.3 + points[mask, 2].min())


def test_the_height_of_a_table() -> None:
    points, mask, _ = scene()
    assert table_height(points[~mask] + [0.0, 0.0, 0.25], np.array([0.0, 0.0, 1.0])) == pytest.approx(
        0.25, abs=5e-4
    )


def test_a_pose_is_needed_for_the_objects_frame() -> None:
    points, mask, T = scene()
    with pytest.raises(ValueError, match=r"which a cloud does not show\. Pass T_cloud_object"):
        frame("object_centric", points, mask, np.array([0.0, 0.0, 1.0]), T)
