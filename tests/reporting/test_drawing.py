"""A grasp is drawn from the side that shows it."""

import numpy as np
import pytest

from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.reporting.drawing import UNTESTED, CloudView, ColoredHands, draw_cloud


@pytest.fixture(scope="module")
def hand() -> Hand:
    return load_hand("leap_right")


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_wall_is_looked_past(hand: Hand, side: float) -> None:
    """The palm looks along -x with an object before it; a wall stands on one of the two sides of the hand."""
    rng = np.random.default_rng(0)
    target = rng.uniform(-0.02, 0.02, (200, 3)) + np.array([0.0, 0.0, 0.05])
    wall = rng.uniform(-1.0, 1.0, (400, 3)) * [0.08, 0.0, 0.1] + np.array([0.0, side * 0.12, 0.1])
    points = np.concatenate([target, wall])
    cloud = CloudView(points, np.arange(len(points)) < len(target), table=True)
    pose = np.zeros((1, 7 + hand.num_joints))
    # The base's -z, out of the palm, turned to the world's -x: half a right angle's sine and cosine about y.
    pose[0, :3], pose[0, -4:] = [0.1, 0.0, 0.05], [np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0]
    drawing = draw_cloud(cloud, ColoredHands(hand, pose, [UNTESTED]), caption="", detail="")
    assert np.sin(np.radians(drawing.azimuth_deg)) * side < 0
