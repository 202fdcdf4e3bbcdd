"""A film shows the trial that judged the grasp, not another one."""

import numpy as np
import pytest

from factories.lifts import box, firm, standing
from sceneleapultra.hands import load_hand
from sceneleapultra.simulation.protocols import evaluate_grasps, get_protocol
from sceneleapultra.simulation.protocols.film import FRAME_S, Film, film
from sceneleapultra.utils.records import Grasps

SCENE = standing((box("neighbor", (0.04, 0.04, 0.1)), (0.0, 0.16)))


@pytest.fixture(scope="module")
def grasps() -> Grasps:
    """A clean pick, and one that shoves the neighbor on its way."""
    return Grasps.concatenate([firm(approach=(0, 0, 0.12)), firm(approach=(0, 0.12, 0))])


def filmed(grasps: Grasps, number: int, protocol: str) -> Film:
    return film(load_hand("leap_right"), SCENE, 0, grasps, number, get_protocol(protocol))


@pytest.mark.parametrize("protocol", ["scene-lift", "dgb-fc-quick"])
def test_a_film_ends_as_the_trial_did(grasps: Grasps, protocol: str) -> None:
    table = evaluate_grasps(load_hand("leap_right"), SCENE, grasps, protocol, workers=0)
    for number in range(2):
        verdict = filmed(grasps, number, protocol).verdict
        assert verdict.outcome == table["outcome"][number]
        for name in ("rise_m", "neighbor_shift_m", "table_force_n"):
            if name in table.values:
                np.testing.assert_array_equal(verdict.details[name], table[name][number])
    assert len({*table["outcome"]}) == (2 if protocol == "scene-lift" else 1)


def test_what_is_held_up_weighs_what_the_hand_bears(grasps: Grasps) -> None:
    shown = filmed(grasps, 0, "scene-lift")
    last, target = shown.frames[-1], shown.model.body("object").id
    assert last.poses[target, 2] - shown.frames[0].poses[target, 2] > 0.15
    weight = shown.model.body_mass[target] * 9.81
    np.testing.assert_allclose(last.forces[last.touched == 0].sum(0), [0, 0, weight], atol=0.03 * weight)
    assert last.force_on("target") > weight and last.force_on("table") == last.force_on("neighbors") == 0
    # Where it is touched: at its surface.
    radius = np.linalg.norm(last.points[:, :2] - last.poses[target, :2], axis=1)
    assert (radius < 0.08).all()


def test_frames_are_even_and_without_the_time_before_the_hand_is_there(grasps: Grasps) -> None:
    shown = filmed(grasps, 0, "scene-lift")
    times = np.array([frame.time_s for frame in shown.frames])
    np.testing.assert_allclose(np.diff(times), FRAME_S, atol=1e-9)
    hand = [i for i in range(shown.model.nbody) if shown.model.body(i).name.startswith("hand/")]
    heights = np.array([frame.poses[hand, 2].max() for frame in shown.frames])
    assert heights.max() < 1.0  # while the objects settle it is at 2 m


def test_a_push_along_each_direction_is_a_run_of_its_own(grasps: Grasps) -> None:
    shown = filmed(grasps, 0, "dgb-fc-quick")
    assert len({frame.run for frame in shown.frames}) == 6
