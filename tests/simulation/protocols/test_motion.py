import math

import numpy as np
import pytest

from sceneleapultra.simulation.protocols.motion import (
    displacement,
    interpolate_pose,
    pose_from_matrix,
    unit_pose,
)


def turned(angle: float) -> np.ndarray:
    return np.array([0, 0, 0, math.cos(angle / 2), 0, 0, math.sin(angle / 2)])


def test_opposite_quaternions_are_the_same_rotation() -> None:
    pose = turned(0.7)
    other = np.concatenate([pose[:3], -pose[3:]])
    assert displacement(pose, other) == pytest.approx((0, 0), abs=1e-5)
    assert displacement(turned(0), turned(0.3))[1] == pytest.approx(math.degrees(0.3))
    assert displacement(turned(0), turned(2 * math.pi - 0.3))[1] == pytest.approx(math.degrees(0.3))


def test_interpolation_takes_the_shorter_arc_at_even_speed() -> None:
    start, end = turned(0.2), turned(1.0)
    for sign in (1, -1):
        signed = np.concatenate([end[:3] + 1, sign * end[3:]])
        quarter = interpolate_pose(start, signed, 0.25)
        assert displacement(quarter, turned(0.4))[1] == pytest.approx(0, abs=1e-5)
        np.testing.assert_allclose(quarter[:3], 0.25)


def test_matrix_and_pose_agree() -> None:
    T = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])
    pose = pose_from_matrix(T)
    np.testing.assert_allclose(pose[:3], [1, 2, 3])
    assert displacement(np.concatenate([pose[:3], turned(math.pi / 2)[3:]]), pose)[1] == pytest.approx(0)


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (np.zeros(6), r"object_pose: expected a pose .* got shape \(6,\)"),
        (np.zeros(7), "non-zero quaternion"),
        (np.array([np.nan, 0, 0, 1, 0, 0, 0]), "finite"),
    ],
)
def test_bad_pose_gets_a_sentence(pose: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unit_pose("object_pose", pose)
