"""Are way-points reached in their order, no faster than the joints may go, and are the messages what others read?"""

import json
from pathlib import Path

import numpy as np
import pytest

from sceneleapultra.hands import Hand
from sceneleapultra.hands.adapters import HandAdapter, HandTrajectory, load_adapter, plan_waypoints
from sceneleapultra.hands.adapters.files import read_grasp, read_trajectory, trajectory_to_dict
from sceneleapultra.hands.adapters.messages import joint_state, joint_trajectory, moveit_grasp
from sceneleapultra.scripts import hand as program

UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def adapter(leap: Hand) -> HandAdapter:
    return load_adapter(leap)


def plan(adapter: HandAdapter, hand: Hand, open_rad: float = 0.2, closed_rad: float = 0.9) -> HandTrajectory:
    T = np.eye(4)
    T[:3, 3] = [0.1, 0.2, 0.3]
    stages = (np.full(16, open_rad), np.full(16, closed_rad), np.full(16, 5.0))
    return plan_waypoints(
        adapter, hand, T, stages, approach_m=0.12 * UP, lift_m=0.2 * UP, squeeze_nm=0.1, frame="world"
    )


def test_way_points_come_in_order_and_the_base_moves_before_and_behind_the_grasp(
    leap: Hand, adapter: HandAdapter
) -> None:
    found = plan(adapter, leap)
    assert [w.name for w in found.waypoints] == [
        "standoff",
        "pre-grasp",
        "grasp",
        "squeeze",
        "settled",
        "lift",
    ]
    assert [round(float(w.T_frame_base[2, 3]), 9) for w in found.waypoints] == [0.42, 0.3, 0.3, 0.3, 0.3, 0.5]
    assert [w.squeezes for w in found.waypoints] == [False, False, False, True, True, True]
    np.testing.assert_array_equal(found.at(-1.0), found.waypoints[0].qpos)
    for waypoint in found.waypoints:
        np.testing.assert_allclose(found.at(waypoint.time_s), waypoint.qpos, atol=1e-12)
    np.testing.assert_array_equal(found.waypoints[-1].qpos, leap.joint_limits[:, 1].numpy().astype(float))


def test_no_joint_is_faster_than_it_may_be(leap: Hand, adapter: HandAdapter) -> None:
    found = plan(adapter, leap, open_rad=-0.3, closed_rad=1.0)
    times = np.arange(0.0, found.duration_s, 1e-3)
    speed = np.abs(np.diff([found.at(t) for t in times], axis=0)).max() / 1e-3
    assert 0.95 * adapter.max_speed_rad_s < speed < 1.001 * adapter.max_speed_rad_s


def test_a_grasp_beyond_the_limits_is_refused_and_its_squeeze_is_not(
    leap: Hand, adapter: HandAdapter
) -> None:
    with pytest.raises(ValueError, match=r"^grasp: joint \w+ at 2.300 rad is beyond its limits"):
        plan(adapter, leap, closed_rad=2.3)


def test_a_plan_read_back_is_the_plan(leap: Hand, adapter: HandAdapter, tmp_path: Path) -> None:
    found, file = plan(adapter, leap), tmp_path / "plan.json"
    file.write_text(json.dumps({"trajectory": trajectory_to_dict(found)}))
    assert trajectory_to_dict(read_trajectory(file)) == trajectory_to_dict(found)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda raw: raw.pop("waypoints"), "is no plan of a hand"),
        (lambda raw: raw["waypoints"].reverse(), "growing times"),
        (lambda raw: raw["waypoints"][1]["qpos"].pop(), "with 16 joints each"),
        (lambda raw: raw["waypoints"].clear(), "two way-points at least"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(leap, adapter, tmp_path: Path, change, sentence: str) -> None:
    raw, file = trajectory_to_dict(plan(adapter, leap)), tmp_path / "plan.json"
    change(raw)
    file.write_text(json.dumps({"trajectory": raw}))
    with pytest.raises(ValueError, match=sentence):
        read_trajectory(file)


def test_a_trajectory_message_has_the_fields_and_times_of_ros(leap: Hand, adapter: HandAdapter) -> None:
    found = plan(adapter, leap)
    message = json.loads(json.dumps(joint_trajectory(found)))
    assert set(message) == {"header", "joint_names", "points"}
    assert message["joint_names"] == list(leap.joint_names)
    for point, waypoint in zip(message["points"], found.waypoints, strict=True):
        assert set(point) == {"positions", "velocities", "accelerations", "effort", "time_from_start"}
        time = point["time_from_start"]
        assert time["sec"] + time["nanosec"] * 1e-9 == pytest.approx(waypoint.time_s, abs=1e-9)
        assert point["positions"] == waypoint.qpos.tolist()
        assert point["effort"] == ([0.1] * 16 if waypoint.squeezes else [])


def test_a_grasp_message_places_the_flange_and_says_from_where_to_come(
    leap: Hand, adapter: HandAdapter
) -> None:
    found = plan(adapter, leap)
    message = json.loads(json.dumps(moveit_grasp(found, adapter, number=3, quality=0.7)))
    assert message["id"] == "leap_right/3" and message["grasp_quality"] == 0.7
    pose = message["grasp_pose"]["pose"]
    # The base is not turned here, so the flange is 98 mm behind it and 38 mm aside, in the base's own axes.
    assert pose["position"] == pytest.approx({"x": 0.1 - 0.098, "y": 0.2 - 0.038, "z": 0.3}, abs=1e-9)
    half = 2**-0.5
    assert pose["orientation"] == pytest.approx({"x": 0.0, "y": half, "z": 0.0, "w": half}, abs=1e-9)
    assert message["pre_grasp_approach"]["direction"]["vector"] == {"x": 0.0, "y": 0.0, "z": -1.0}
    assert message["pre_grasp_approach"]["desired_distance"] == pytest.approx(0.12)
    assert message["post_grasp_retreat"]["direction"]["vector"] == pytest.approx(
        {"x": 0.0, "y": 0.0, "z": 1.0}
    )
    assert message["post_grasp_retreat"]["desired_distance"] == pytest.approx(0.2)
    assert message["grasp_pose"]["header"]["frame_id"] == "world"
    assert len(message["grasp_posture"]["points"]) == 2 and len(message["pre_grasp_posture"]["points"]) == 1


def test_the_makers_topic_gets_motors_in_their_order(leap: Hand, adapter: HandAdapter) -> None:
    qpos = np.zeros(16)
    qpos[leap.joint_names.index("mf_mcp")] = 1.0
    message = joint_state(adapter, leap, qpos)
    expected = np.full(16, np.pi)
    expected[5] += 1.0  # the second motor of the second finger bends it
    np.testing.assert_allclose(message["position"], expected)
    assert message["name"][5] == "mf_mcp"


def grasp_arrays() -> dict[str, np.ndarray]:
    return {
        "hand_pose": np.ones((3, 23)),
        "pregrasp_qpos": np.ones((3, 16)),
        "squeeze_qpos": np.ones((3, 16)),
    }


def test_grasps_of_a_prediction_and_of_a_test_are_read(leap: Hand, tmp_path: Path) -> None:
    arrays = grasp_arrays() | {"approach": np.array([[0, 0, 0.1], [np.nan] * 3, [0, 0.1, 0]])}
    np.savez(tmp_path / "test.npz", **{f"test/{name}": values for name, values in arrays.items()})
    found = read_grasp(tmp_path / "test.npz", 0, tuple(leap.joint_names))
    assert (
        found.frame == "world" and found.approach_m is not None and found.approach_m.tolist() == [0, 0, 0.1]
    )
    assert read_grasp(tmp_path / "test.npz", 1, tuple(leap.joint_names)).approach_m is None
    extra = {
        "frame": np.array("camera"),
        "score": np.array([3.0, 2.0, 1.0]),
        "joint_names": np.array(leap.joint_names),
    }
    np.savez(tmp_path / "one.npz", **grasp_arrays(), **extra)
    found = read_grasp(tmp_path / "one.npz", 2, tuple(leap.joint_names))
    assert (found.frame, found.quality, found.approach_m) == ("camera", 1.0, None)


@pytest.mark.parametrize(
    ("change", "number", "sentence"),
    [
        (lambda a: a, 3, "has grasps 0 to 2, got 3"),
        (lambda a: a, -1, "has grasps 0 to 2, got -1"),
        (lambda a: a.pop("squeeze_qpos"), 0, "lacks squeeze_qpos"),
        (lambda a: a.update(hand_pose=np.ones((3, 22))), 0, "16 joints"),
        (lambda a: a.update(joint_names=np.array(["a", "b"])), 0, "the joints a, b"),
        (lambda a: (a.pop("hand_pose"), a.update({"a/hand_pose": 1, "b/hand_pose": 1})), 0, "2 splits: a, b"),
    ],
)
def test_grasps_that_are_not_for_this_hand_are_refused(
    leap, tmp_path: Path, change, number, sentence
) -> None:
    arrays = grasp_arrays()
    change(arrays)
    np.savez(tmp_path / "grasps.npz", **arrays)
    with pytest.raises(ValueError, match=sentence):
        read_grasp(tmp_path / "grasps.npz", number, tuple(leap.joint_names))


@pytest.mark.parametrize("up", [(0.0, 0.0, 0.0), (0.0, float("nan"), 1.0)])
def test_a_lift_has_a_direction(up: tuple[float, float, float], tmp_path: Path) -> None:
    np.savez(tmp_path / "grasps.npz", **grasp_arrays())
    with pytest.raises(ValueError, match=r"^--up: expected a direction against gravity, got 0 "):
        program.plan(tmp_path / "grasps.npz", up=up, output=tmp_path / "plan.json")
