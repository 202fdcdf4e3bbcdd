"""Does a hand on a wire, a fake one that speaks the motors' protocol, get what was planned, and nothing it must not?"""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest

from factories.fake_leap import CURRENT, ERRORS, GOAL, MODE, POSITION, TORQUE, fake_leap
from sceneleapultra.hands import Hand
from sceneleapultra.hands.adapters import HandAdapter, HandTrajectory, Timing, load_adapter, plan_waypoints
from sceneleapultra.hands.adapters.files import trajectory_to_dict
from sceneleapultra.scripts import hand as program

sdk = pytest.importorskip("dynamixel_sdk", reason="needs the extra leap")
from sceneleapultra.hands.adapters.dynamixel import MotorsLostError  # noqa: E402
from sceneleapultra.hands.adapters.real_hand import RealHand  # noqa: E402

STEP_RAD = 2 * np.pi / 4096
SHORT = Timing(approach_s=0.1, close_s=0.1, squeeze_s=0.1, settle_s=0.1, lift_s=0.1)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for an answer (ms): this machine may do much else."""
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 100)


@pytest.fixture(scope="module")
def adapter(leap: Hand) -> HandAdapter:
    """A hand that is as quick as a test should be."""
    return dataclasses.replace(load_adapter(leap), timing=SHORT, max_speed_rad_s=8.0, rate_hz=100.0)


@pytest.fixture
def trajectory(leap: Hand, adapter: HandAdapter) -> HandTrajectory:
    return planned(leap, adapter)


def planned(leap: Hand, adapter: HandAdapter) -> HandTrajectory:
    stages = (np.full(16, 0.2), np.linspace(0.3, 0.6, 16), np.full(16, 0.8))
    up = np.array([0.0, 0.0, 0.1])
    return plan_waypoints(
        adapter, leap, np.eye(4), stages, approach_m=up, lift_m=up, squeeze_nm=0.1, frame="world"
    )


def joints_of(adapter: HandAdapter, hand: Hand, steps: tuple[int, ...]) -> np.ndarray:
    return adapter.to_joints(hand, np.array(steps) * STEP_RAD)


def test_the_hand_gets_every_way_point_in_small_steps(leap, adapter, trajectory) -> None:
    names: list[str] = []
    with fake_leap() as fake, RealHand(adapter, leap, fake.port, "full") as real:
        real.play(trajectory, names.append)
        read = real.qpos()
    assert names == ["standoff", "pre-grasp", "grasp", "squeeze", "settled", "lift"]
    goals = fake.goals()
    joints = [joints_of(adapter, leap, goal) for goal in goals]
    np.testing.assert_array_equal(np.array(goals[0]), 2048)  # it is held where it is, before anything else
    reached = 0
    for waypoint in trajectory.waypoints:
        reached = next(
            i
            for i in range(reached, len(joints))
            if np.abs(joints[i] - waypoint.qpos).max() < 0.51 * STEP_RAD
        )
    assert reached >= len(joints) - 30
    steps = np.abs(np.diff(np.array(goals), axis=0)).max() * STEP_RAD
    assert steps <= adapter.max_speed_rad_s / adapter.rate_hz + STEP_RAD
    np.testing.assert_allclose(read, trajectory.waypoints[-1].qpos, atol=0.51 * STEP_RAD)


def test_mode_gains_and_currents_are_set_before_the_torque_and_the_squeeze_has_its_own(
    leap, adapter, trajectory
) -> None:
    with fake_leap() as fake, RealHand(adapter, leap, fake.port, "full") as real:
        real.play(trajectory, lambda name: None)
    on = next(i for i, (_, address, value) in enumerate(fake.writes) if (address, value) == (TORQUE, 1))
    before = fake.writes[:on]
    assert not fake.refused
    assert {value for _, address, value in before if address == MODE} == {5}
    assert [value for _, address, value in before if address == 84] == [450, 600, 600, 600] * 3 + [600] * 4
    assert [value for _, address, value in before if address == 80] == [150, 200, 200, 200] * 3 + [200] * 4
    currents = [value for _, address, value in fake.writes if address == CURRENT]
    assert currents == [550] * 16 + [193] * 16  # 0.1 N m at 0.517 N m/A
    squeezed = next(i for i, (_, a, v) in enumerate(fake.writes) if (a, v) == (CURRENT, 193))
    grasp = adapter.to_motors(leap, trajectory.waypoints[2].qpos)
    last = [value for _, address, value in fake.writes[:squeezed] if address == GOAL][-16:]
    np.testing.assert_allclose(np.array(last) * STEP_RAD, grasp, atol=0.51 * STEP_RAD)
    assert fake.get(3, TORQUE, 1) == 1  # the hand holds at the end


def test_a_squeeze_or_a_way_point_beyond_the_hand_moves_nothing(leap, adapter, trajectory) -> None:
    far = dataclasses.replace(trajectory.waypoints[3], qpos=np.full(16, 2.4))
    points = (*trajectory.waypoints[:3], far, *trajectory.waypoints[4:])
    with fake_leap() as fake, RealHand(adapter, leap, fake.port, "full") as real:
        with pytest.raises(ValueError, match="550 mA"):
            real.play(dataclasses.replace(trajectory, squeeze_nm=0.4), lambda name: None)
        with pytest.raises(ValueError, match="beyond its limits"):
            real.play(dataclasses.replace(trajectory, waypoints=points), lambda name: None)
        hurried = dataclasses.replace(real.adapter, max_speed_rad_s=2.0)
        with pytest.raises(
            ValueError, match=r"^grasp: 0.10 s are given for a move that takes 0.30 s at 2.0 rad/s"
        ):
            RealHand(hurried, leap, fake.port, "full").play(trajectory, lambda name: None)
        with pytest.raises(ValueError, match="call start"):
            real.command(np.zeros(16))
    assert fake.writes == []


def test_a_command_far_away_is_refused_and_not_sent(leap, adapter) -> None:
    with fake_leap() as fake, RealHand(adapter, leap, fake.port, "full") as real:
        real.start()
        sent = len(fake.goals())
        qpos = np.zeros(16)
        qpos[leap.joint_names.index("rf_pip")] = 0.5
        with pytest.raises(ValueError, match=r"rf_pip is to go 0.500 rad in one tick, and may go 0.080"):
            real.command(qpos)
        assert len(fake.goals()) == sent
        qpos *= 0.1
        real.command(qpos)
        assert real.qpos()[leap.joint_names.index("rf_pip")] == pytest.approx(0.05, abs=0.51 * STEP_RAD)


def test_a_hand_that_rests_outside_the_limits_is_led_in(leap, adapter, trajectory) -> None:
    with fake_leap() as fake, RealHand(adapter, leap, fake.port, "full") as real:
        fake.put(
            14, POSITION, 4, 2048 - round(1.0 / STEP_RAD)
        )  # the real thumb bends further than our limits
        real.play(trajectory, lambda name: None)
    thumb = [goal[14] for goal in fake.goals()]
    assert thumb == sorted(thumb) and thumb[0] == 2048 - round(1.0 / STEP_RAD)


def test_a_program_that_was_kept_waiting_does_not_hurry(leap, adapter, trajectory, monkeypatch) -> None:
    sent_s: list[float] = []
    sleep = time.sleep

    def kept_waiting(seconds: float) -> None:
        sent_s.append(time.monotonic())
        sleep(seconds + (0.2 if len(sent_s) == 5 else 0.0))

    with fake_leap() as fake, RealHand(adapter, leap, fake.port, "full") as real:
        real.start()
        monkeypatch.setattr("sceneleapultra.hands.adapters.real_hand.time.sleep", kept_waiting)
        real._ticks(lambda s: np.full(16, np.pi + s), 0.3)  # of the motors, 1 rad/s
    period_s = 1.0 / adapter.rate_hz
    assert len(sent_s) == 30
    for first, sixth in zip(sent_s, sent_s[5:], strict=False):  # at most one tick is made up for
        assert sixth - first > 3.5 * period_s


def test_a_pulled_cable_is_a_sentence_and_the_motors_keep_their_torque(leap, adapter, trajectory) -> None:
    with fake_leap() as fake:
        fake.pull_after = 45
        with (
            RealHand(adapter, leap, fake.port, "full") as real,
            pytest.raises(MotorsLostError, match=r"gone|do not answer") as caught,
        ):
            real.play(trajectory, lambda name: None)
        fake._thread.join()
        assert all(fake.get(n, TORQUE, 1) == 1 for n in range(16))
        goal = [fake.get(n, GOAL, 4) for n in range(16)]
        assert goal == list(fake.goals()[-1])  # they hold the last command
    assert "hold the last command" in str(caught.value) and "on the way to" in str(caught.value)


def test_only_release_switches_the_torque_off(leap, adapter) -> None:
    with fake_leap() as fake:
        with RealHand(adapter, leap, fake.port, "full") as real:
            real.start()
        assert all(fake.get(n, TORQUE, 1) for n in range(16))
        with RealHand(adapter, leap, fake.port, "full") as real:
            real.release()
            assert not any(fake.get(n, TORQUE, 1) for n in range(16))


def test_missing_other_and_faulty_motors_are_named(leap, adapter) -> None:
    with (
        fake_leap(count=14) as fake,
        pytest.raises(ValueError, match=r"14 of 16 .* 14 \(th_mcp\), 15 \(th_ipl\)"),
    ):
        RealHand(adapter, leap, fake.port, "full")
    with fake_leap(model=1200) as fake, pytest.raises(ValueError, match="those of preset 'lite'"):
        RealHand(adapter, leap, fake.port, "full")
    with fake_leap() as fake:
        fake.put(5, ERRORS, 1, 0x24)
        with (
            RealHand(adapter, leap, fake.port, "full") as real,
            pytest.raises(ValueError, match=r"5 \(mf_mcp\): overheating, overload"),
        ):
            real.start()
        assert fake.writes == []


def test_a_hand_lets_go_though_one_of_its_motors_was_overloaded(leap) -> None:
    with fake_leap() as fake:
        for n in range(16):
            fake.put(n, TORQUE, 1, int(n != 5))
        fake.put(5, ERRORS, 1, 0x20)
        program.release(port=fake.port, motors="full")
        assert not any(fake.get(n, TORQUE, 1) for n in range(16))


def test_no_port_is_a_sentence(leap, adapter, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no serial port"):
        RealHand(adapter, leap, str(tmp_path / "ttyUSB0"), "full")


def test_the_program_plays_a_plan_and_lets_go(leap, tmp_path: Path, capsys) -> None:
    trajectory = planned(leap, dataclasses.replace(load_adapter(leap), timing=SHORT))
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"trajectory": trajectory_to_dict(trajectory)}))
    with fake_leap(model=1200) as fake:
        program.play(file, port=fake.port, motors="lite")
        last = trajectory.waypoints[-1].qpos
        np.testing.assert_allclose(
            joints_of(load_adapter(leap), leap, fake.goals()[-1]), last, atol=0.51 * STEP_RAD
        )
        program.release(port=fake.port, motors="lite")
        assert not any(fake.get(n, TORQUE, 1) for n in range(16))
    printed = capsys.readouterr().out
    assert "reached  lift" in printed and "To let go" in printed


def test_the_fake_speaks_with_the_makers_library_in_bulk_too() -> None:
    """The fake is written from the specification, the library by the maker: both must have the protocol right."""
    with fake_leap() as fake:
        port, packets = sdk.PortHandler(fake.port), sdk.PacketHandler(2.0)
        port.setBaudRate(4_000_000)
        write = sdk.GroupBulkWrite(port, packets)
        write.addParam(2, GOAL, 4, [0xFF, 0xFF, 0xFD, 0x00])  # looks like a header, so it is stuffed
        write.addParam(7, CURRENT, 2, [44, 1])
        assert write.txPacket() == sdk.COMM_SUCCESS
        read = sdk.GroupBulkRead(port, packets)
        read.addParam(2, GOAL, 4)
        read.addParam(7, CURRENT, 2)
        assert read.txRxPacket() == sdk.COMM_SUCCESS
        assert read.getData(2, GOAL, 4) == 0x00FDFFFF and read.getData(7, CURRENT, 2) == 300
        assert packets.write1ByteTxRx(port, 4, TORQUE, 1)[0] == sdk.COMM_SUCCESS
        assert packets.write1ByteTxRx(port, 4, MODE, 5)[1] == 7  # not under torque
        assert packets.read4ByteTxRx(port, 4, POSITION)[0] == 2048
        port.closePort()
