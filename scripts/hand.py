"""Lead a real hand to a grasp: plan way-points, look at them, play them on the motors.

python scripts/hand.py plan predicted/grasps.npz --output plan.json
python scripts/hand.py play plan.json --port /dev/ttyUSB0 --motors full
python scripts/hand.py release --port /dev/ttyUSB0 --motors full

plan moves nothing. It writes way-points (standoff, pre-grasp, grasp, squeeze, lift) with times, the commands of the
motors, and the messages of ROS 2 and MoveIt. play leads the fingers; an arm brings the hand. The hand keeps its torque
when play ends, however it ends: only release lets go. Needs pip install 'sceneleapultra[leap]' to play and release.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path
from typing import Literal

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import card, say

_MotorKind = Literal["lite", "full"]


def plan(
    grasps: Path,
    *,
    number: int = 0,
    squeeze_nm: float = 0.1,
    standoff_m: float = 0.12,
    lift_m: float = 0.2,
    up: tuple[float, float, float] | None = None,
    motors: _MotorKind = "full",
    hand: str = "leap_right",
    output: Path = Path("hand_plan.json"),
) -> None:
    """Plan one grasp and write it; nothing is moved.

    Args:
        grasps: grasps.npz of predict.py or test_lightning.py
        number: of the grasp; 0 is the best
        squeeze_nm: torque of each joint in the squeeze (N m)
        standoff_m: from where the hand approaches along its palm, unless the grasp brings its approach (m)
        lift_m: how far it is lifted (m)
        up: direction against gravity in the frame of the grasps; without it, back along the approach
        motors: what was built in: lite (XL330) or full (XC330)
        hand: a name of config/hand that has an adapter
        output: .json to write

    Raises:
        ValueError: a grasp beyond the joints' limits, a squeeze beyond the motors.
    """
    import numpy as np
    import torch

    from sceneleapultra.hands import GraspPose, load_hand
    from sceneleapultra.hands.adapters import load_adapter, plan_waypoints
    from sceneleapultra.hands.adapters.files import read_grasp, trajectory_to_dict
    from sceneleapultra.hands.adapters.messages import joint_state, joint_trajectory, moveit_grasp
    from sceneleapultra.utils.core.files import write_json

    loaded = load_hand(hand)
    adapter = load_adapter(loaded)
    chosen = read_grasp(grasps, number, tuple(loaded.joint_names))
    pose = GraspPose.from_hand_pose(torch.as_tensor(chosen.hand_pose))
    T, qpos = pose.matrix().numpy(), pose.qpos.numpy()
    back = -(T[:3, :3] @ loaded.palm_direction.numpy().astype(float))
    approach = standoff_m * back if chosen.approach_m is None else chosen.approach_m
    if up is None and chosen.frame == "world":
        up = (0.0, 0.0, 1.0)
    lift = approach if up is None else np.array(up, dtype=float)
    if not 0.0 < (length := float(np.linalg.norm(lift))) < np.inf:
        raise ValueError(
            f"--up: expected a direction against gravity, got {' '.join(f'{x:g}' for x in lift)}. In the frame of a "
            "camera, with no way back along the approach, pass one: --up X Y Z."
        )
    currents = adapter.currents(loaded, np.full(loaded.num_joints, squeeze_nm), motors)
    trajectory = plan_waypoints(
        adapter,
        loaded,
        T,
        (chosen.pregrasp_qpos, qpos, chosen.squeeze_qpos),
        approach_m=approach,
        lift_m=lift_m * lift / length,
        squeeze_nm=squeeze_nm,
        frame=chosen.frame,
    )
    commands = {w.name: adapter.to_motors(loaded, w.qpos) for w in trajectory.waypoints}
    document = {
        "trajectory": trajectory_to_dict(trajectory),
        "motors": {
            "joints": list(adapter.motors),
            "kind": motors,
            "squeeze_ma": currents.tolist(),
            "angles_rad": {name: angles.tolist() for name, angles in commands.items()},
        },
        "messages": {
            "joint_trajectory": joint_trajectory(trajectory),
            "cmd_leap": {w.name: joint_state(adapter, loaded, w.qpos) for w in trajectory.waypoints},
            "moveit_grasp": moveit_grasp(trajectory, adapter, number=number, quality=chosen.quality),
        },
    }
    write_json(output, document, indent=1)
    simulated = loaded.description.actuation.kp * np.abs(chosen.squeeze_qpos - qpos).max()
    say(
        f"squeeze  {squeeze_nm:g} N m, {currents.max():.0f} mA of {adapter.preset(motors).max_current_ma:.0f}; the "
        f"simulated servos press with up to {simulated:.2f} N m where the fingers are stopped"
    )
    card(
        f"Grasp {number} of {grasps}, in frame {trajectory.frame}",
        {f"{w.time_s:5.2f} s": w.name for w in trajectory.waypoints},
        {"on the hand": f"python scripts/hand.py play {output} --port /dev/ttyUSB0 --motors {motors}"},
    )


def play(plan: Path, *, port: str, motors: _MotorKind) -> None:
    """Lead the fingers along a plan; the hand holds at its end.

    Args:
        plan: .json that `plan` wrote
        port: serial port of the hand, such as /dev/ttyUSB0
        motors: what was built in: lite (XL330) or full (XC330)

    Raises:
        ValueError: motors are missing or of another kind, a command beyond a limit.
    """
    from sceneleapultra.hands.adapters.dynamixel import require_library
    from sceneleapultra.hands.adapters.files import read_trajectory

    require_library()
    trajectory = read_trajectory(plan)

    from sceneleapultra.hands import load_hand
    from sceneleapultra.hands.adapters import load_adapter
    from sceneleapultra.hands.adapters.real_hand import RealHand

    loaded = load_hand(trajectory.hand)
    if trajectory.joint_names != tuple(loaded.joint_names):
        raise ValueError(f"{plan} has other joints than hand '{trajectory.hand}'. Plan the grasp again.")
    with RealHand(load_adapter(loaded), loaded, port, motors) as real:
        real.play(trajectory, lambda name: say(f"reached  {name}"))
    say(f"The hand holds. To let go: python scripts/hand.py release --port {port} --motors {motors}")


def release(*, port: str, motors: _MotorKind, hand: str = "leap_right") -> None:
    """Switch the torque off: the hand lets go of what it holds.

    Args:
        port: serial port of the hand, such as /dev/ttyUSB0
        motors: what was built in: lite (XL330) or full (XC330)
        hand: a name of config/hand that has an adapter
    """
    from sceneleapultra.hands.adapters.dynamixel import require_library

    require_library()
    from sceneleapultra.hands import load_hand
    from sceneleapultra.hands.adapters import load_adapter
    from sceneleapultra.hands.adapters.real_hand import RealHand

    loaded = load_hand(hand)
    with RealHand(load_adapter(loaded), loaded, port, motors) as real:
        real.release()
    say("The motors have no torque.")


def main() -> None:
    """Do what the command line names."""
    cli.run({"plan": plan, "play": play, "release": release}, __doc__)


if __name__ == "__main__":
    main()
