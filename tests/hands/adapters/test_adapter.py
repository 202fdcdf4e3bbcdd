"""Does a real LEAP hand go where a grasp of ours wants it, by the maker's own convention, and nowhere else?"""

import mujoco
import numpy as np
import pytest
import torch

from sceneleapultra.hands import Hand
from sceneleapultra.hands.adapters import HandAdapter, load_adapter
from sceneleapultra.utils.core.config import build, load_group

STEP_RAD = 2 * np.pi / 4096


@pytest.fixture(scope="module")
def adapter(leap: Hand) -> HandAdapter:
    return load_adapter(leap)


def as_the_maker_reads(motors: np.ndarray) -> dict[str, float]:
    """Angles of the joints by name: half a turn off, and in a finger side, forward, PIP, DIP; the thumb as it is."""
    angles = {}
    for number, finger in enumerate(("if", "mf", "rf")):
        for joint, value in zip(
            ("rot", "mcp", "pip", "dip"), motors[4 * number : 4 * number + 4], strict=True
        ):
            angles[f"{finger}_{joint}"] = value - np.pi
    for joint, value in zip(("cmc", "axl", "mcp", "ipl"), motors[12:], strict=True):
        angles[f"th_{joint}"] = value - np.pi
    return angles


def bodies_in_mujoco(hand: Hand, angles: dict[str, float]) -> np.ndarray:
    model = mujoco.MjModel.from_xml_string(hand.to_mjcf(), dict(hand.mesh_assets))
    data = mujoco.MjData(model)
    for name, angle in angles.items():
        data.joint(name).qpos[0] = angle
    mujoco.mj_kinematics(model, data)
    return np.stack([data.body(name).xpos for name in hand.body_names])


def test_bodies_are_where_our_pose_has_them_when_the_maker_reads_the_command(
    leap64: Hand, adapter: HandAdapter, draw
) -> None:
    qpos = draw(leap64, 20, seed=3)
    ours = leap64.forward_kinematics(qpos)[..., :3, 3].numpy()
    for pose, expected in zip(qpos.numpy(), ours, strict=True):
        found = bodies_in_mujoco(leap64, as_the_maker_reads(adapter.to_motors(leap64, pose)))
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


def test_two_joints_swapped_would_be_seen(leap64: Hand, adapter: HandAdapter, draw) -> None:
    pose = draw(leap64, 1, seed=4)[0]
    ours = leap64.forward_kinematics(pose)[..., :3, 3].numpy()
    motors = adapter.to_motors(leap64, pose.numpy())
    motors[[0, 1]] = motors[[1, 0]]
    assert np.abs(bodies_in_mujoco(leap64, as_the_maker_reads(motors)) - ours).max() > 1e-3


def test_joints_come_back_from_the_motors(leap: Hand, adapter: HandAdapter, draw) -> None:
    qpos = draw(leap, 50, seed=5).numpy().astype(float)
    motors = adapter.to_motors(leap, qpos)
    assert motors.shape == (50, 16)
    np.testing.assert_allclose(adapter.to_joints(leap, motors), qpos, atol=1e-12)
    assert abs(3.14159 - adapter.zero_rad) < STEP_RAD / 100  # the maker's code rounds


def test_what_lies_a_little_outside_is_moved_to_the_limit_once(leap: Hand, adapter: HandAdapter) -> None:
    lower, upper = leap.joint_limits.numpy().astype(float).T
    outside = upper + 0.9 * adapter.clip_rad
    inside = adapter.within_limits(leap, outside, what="grasp")
    np.testing.assert_array_equal(inside, upper)
    np.testing.assert_array_equal(adapter.within_limits(leap, inside, what="grasp"), inside)
    np.testing.assert_array_equal(adapter.within_limits(leap, lower - 2.0, what="squeeze", aim=True), lower)


@pytest.mark.parametrize(("joint", "angle"), [("if_rot", 1.2), ("th_mcp", -0.6), ("rf_dip", 2.2)])
def test_a_command_beyond_a_limit_is_refused_and_names_the_joint(
    leap: Hand, adapter: HandAdapter, joint: str, angle: float
) -> None:
    qpos = np.full(16, 0.1)
    qpos[leap.joint_names.index(joint)] = angle
    with pytest.raises(ValueError, match=rf"joint {joint} at {angle:.3f} rad is beyond its limits"):
        adapter.to_motors(leap, qpos)
    qpos[0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        adapter.to_motors(leap, qpos)


@pytest.mark.parametrize(("kind", "most_ma", "most_nm"), [("lite", 350, 0.1239), ("full", 550, 0.28435)])
def test_a_squeeze_is_a_current_of_each_motor_up_to_what_it_stands(
    leap: Hand, adapter: HandAdapter, kind: str, most_ma: float, most_nm: float
) -> None:
    torque = np.full(16, most_nm)
    torque[leap.joint_names.index("if_rot")] = most_nm / 2
    current = adapter.currents(leap, torque, kind)
    np.testing.assert_allclose(current[1:], most_ma, rtol=1e-4)
    np.testing.assert_allclose(current[0], most_ma / 2, rtol=1e-4)  # motor 0 moves the index finger sideways
    with pytest.raises(ValueError, match=f"stand {most_ma} mA"):
        adapter.currents(leap, torque + 0.01, kind)
    with pytest.raises(ValueError, match="above 0"):
        adapter.currents(leap, -torque, kind)


def test_gains_are_the_makers(adapter: HandAdapter) -> None:
    gains = [adapter.gains.of(joint) for joint in adapter.motors]
    assert [g for g in gains if g != (600, 0, 200)] == [(450, 0, 150)] * 3
    assert [n for n, g in enumerate(gains) if g == (450, 0, 150)] == [0, 4, 8]


def test_the_flange_is_behind_the_palm(leap64: Hand, adapter: HandAdapter) -> None:
    """Fingers along z of the flange, the palm looks along x; and back again."""
    T = adapter.mount.T_flange_base
    np.testing.assert_allclose(T[:3, :3] @ leap64.finger_direction.numpy(), [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(T[:3, :3] @ leap64.palm_direction.numpy(), [1, 0, 0], atol=1e-12)
    T_world_base = leap64.forward_kinematics(torch.zeros(16, dtype=torch.float64))[5].numpy()
    np.testing.assert_allclose(adapter.mount.flange_pose(T_world_base) @ T, T_world_base, atol=1e-12)


def test_a_hand_without_an_adapter_is_told_so(leap: Hand, adapter: HandAdapter, allegro: Hand) -> None:
    with pytest.raises(ValueError, match="no adapter for a real 'allegro_right', only for leap_right"):
        load_adapter(allegro)
    with pytest.raises(ValueError, match="Load the adapter of this hand"):
        adapter.to_motors(allegro, np.zeros(16) + 0.5)


def test_a_preset_nobody_has_is_refused(adapter: HandAdapter) -> None:
    with pytest.raises(ValueError, match=r"Unknown kind of motors 'ful'\. Did you mean 'full'"):
        adapter.preset("ful")


def test_every_number_stands_in_the_file() -> None:
    raw = load_group("hand/adapter", "leap_right")
    del raw["clip_rad"]
    with pytest.raises(ValueError, match="clip_rad"):
        build(raw)
