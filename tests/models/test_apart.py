"""A few grasps out of many: the best first, the others good and different."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sceneleapultra.models.apart import best_and_apart

APART = {"apart_m": 0.03, "apart_rad": 0.5}
STILL = np.array([1.0, 0.0, 0.0, 0.0])


def test_twins_of_the_best_are_passed_over() -> None:
    x = np.array([0.0, 0.001, 0.002, 0.05, 0.051, 0.1])
    position = np.stack([x, 0 * x, 0 * x], axis=1)
    score = np.array([5.0, 4.9, 4.8, 3.0, 3.1, 1.0])
    rows = best_and_apart(score, position, np.tile(STILL, (6, 1)), 3, **APART)
    assert rows.tolist() == [0, 4, 5]


def test_a_turn_is_a_difference_and_both_signs_of_a_quaternion_are_one() -> None:
    turned = Rotation.from_rotvec([0.0, 0.0, 0.6]).as_quat(scalar_first=True)
    quat = np.stack([STILL, -STILL, turned])
    rows = best_and_apart(np.array([3.0, 2.0, 1.0]), np.zeros((3, 3)), quat, 2, **APART)
    assert rows.tolist() == [0, 2]


def test_where_all_are_alike_the_best_are_taken() -> None:
    rows = best_and_apart(np.arange(4.0), np.zeros((4, 3)), np.tile(STILL, (4, 1)), 3, **APART)
    assert rows.tolist() == [3, 2, 1]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), number=st.integers(1, 12))
def test_the_best_is_always_there_and_each_is_chosen_once(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    score, position = rng.normal(size=12), 0.05 * rng.normal(size=(12, 3))
    quat = Rotation.random(12, rng=rng).as_quat(scalar_first=True)
    rows = best_and_apart(score, position, quat, number, **APART)
    assert rows[0] == score.argmax() and len(set(rows.tolist())) == number
    assert (np.diff(score[rows]) <= 0).all()


@pytest.mark.parametrize("number", [0, 4])
def test_no_more_than_there_are(number: int) -> None:
    with pytest.raises(ValueError, match=f"Expected to choose 1 to 3 of 3 grasps, not {number}"):
        best_and_apart(np.zeros(3), np.zeros((3, 3)), np.tile(STILL, (3, 1)), number, **APART)
