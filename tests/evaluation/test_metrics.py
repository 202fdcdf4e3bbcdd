import math

import numpy as np
import pytest

from sceneleapultra.evaluation.metrics import (
    cluster_interval,
    diversity,
    mean_diversity,
    success_rate,
    top_scored,
)
from sceneleapultra.utils.records import Grasps

JOINTS = 16


def grasps(*poses: tuple[list[float], float, float]) -> Grasps:
    """Build grasps from (position, turn about z in degrees, value of every joint)."""
    rows = []
    for position, turn, joint in poses:
        half = math.radians(turn) / 2
        rows.append([*position, *([joint] * JOINTS), math.cos(half), 0.0, 0.0, math.sin(half)])
    hand_pose = np.array(rows)
    return Grasps(hand_pose, hand_pose[:, 3:-4], hand_pose[:, 3:-4])


def test_diversity_of_two_known_poses():
    two = grasps(([0.0, 0.0, 0.1], 0.0, 0.2), ([0.06, 0.0, 0.1], 90.0, 0.6))
    found = diversity(two)
    # x is 0 and 60 mm: deviation 30 mm on one of three axes, 30 / sqrt(3).
    assert found.translation_mm == pytest.approx(30 / math.sqrt(3))
    assert found.rotation_deg == pytest.approx(90.0)
    assert found.joints_rad == pytest.approx(0.2)  # 0.2 and 0.6: 0.2 either side of 0.4


def test_diversity_is_blind_to_the_frame():
    # The same pair turned by 40 degrees about z and shifted.
    c, s = math.cos(math.radians(40)), math.sin(math.radians(40))
    one = diversity(grasps(([0.0, 0.0, 0.0], 10.0, 0.1), ([0.05, 0.02, 0.0], 55.0, 0.1)))
    moved = ([0.5 + 0.05 * c - 0.02 * s, 0.05 * s + 0.02 * c, 0.3], 95.0, 0.1)
    other = diversity(grasps(([0.5, 0.0, 0.3], 50.0, 0.1), moved))
    assert other.translation_mm == pytest.approx(one.translation_mm)
    assert other.rotation_deg == pytest.approx(one.rotation_deg)


def test_one_grasp_has_no_diversity():
    assert diversity(grasps(([0.0, 0.0, 0.0], 0.0, 0.0))) is None


def test_mean_diversity_averages_over_items():
    four = grasps(
        ([0.0, 0.0, 0.0], 0.0, 0.0),
        ([0.0, 0.0, 0.0], 20.0, 0.0),
        ([9.0, 0.0, 0.0], 0.0, 0.0),
        ([9.0, 0.0, 0.0], 60.0, 0.0),
    )
    item = np.array([0, 0, 1, 1])
    found = mean_diversity(four, item, np.ones(4, dtype=bool))
    assert found["rotation_deg"] == pytest.approx(40.0)
    assert found["translation_mm"] == pytest.approx(0.0, abs=1e-9)  # not the 9 m between the items
    only_second = mean_diversity(four, item, np.array([True, False, True, True]))
    assert only_second["rotation_deg"] == pytest.approx(60.0)


def test_rate_and_wilson_interval():
    rate = success_rate(np.array([True] * 3 + [False] * 7), ["a"] * 10, seed=0, resamples=10)
    assert rate.value == pytest.approx(0.3)
    # Wilson 1927 at 3 of 10, z = 1.96: [0.1078, 0.6032].
    assert rate.wilson == pytest.approx((0.1078, 0.6032), abs=1e-4)
    assert rate.clustered == (0.0, 1.0)  # one object says nothing about others


def test_interval_over_objects_is_wider_when_objects_fail_whole():
    names = [f"object-{i // 20}" for i in range(400)]
    together = np.arange(400) // 20 % 2 == 0  # ten objects always held, ten never
    low, high = cluster_interval(together, names, seed=0, resamples=2000)
    # Binomial over 20 objects: standard error sqrt(0.25 / 20) = 0.112, so about 0.5 +- 0.22.
    assert low == pytest.approx(0.28, abs=0.04)
    assert high == pytest.approx(0.72, abs=0.04)
    alike = np.arange(400) % 2 == 0  # each object held by half of its grasps
    assert cluster_interval(alike, names, seed=0, resamples=100) == (0.5, 0.5)


def test_top_scored():
    score = np.array([0.1, 0.9, 0.5, 0.9])
    assert top_scored(score, 3).tolist() == [1, 3, 2]
    with pytest.raises(ValueError, match="needs a score for each"):
        top_scored(np.array([0.1, np.nan]), 1)
    with pytest.raises(ValueError, match="5 grasps are to be kept of 4"):
        top_scored(score, 5)
