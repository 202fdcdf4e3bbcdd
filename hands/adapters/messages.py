"""Plans as the messages of ROS 2 and MoveIt, in plain dictionaries with the messages' own field names.

``rosidl_runtime_py.set_message_fields(JointTrajectory(), message)`` fills a message from one; JSON holds it as it is.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from sceneleapultra.hands.adapters.adapter import HandAdapter
from sceneleapultra.hands.adapters.trajectory import HandTrajectory, HandWaypoint
from sceneleapultra.hands.hand import Hand

_NOW = {"sec": 0, "nanosec": 0}


def joint_trajectory(trajectory: HandTrajectory) -> dict[str, Any]:
    """Return ``trajectory_msgs/JointTrajectory`` of the joints in our order; effort is the squeeze's torque (N m)."""
    return _joint_trajectory(trajectory, trajectory.waypoints)


def joint_state(adapter: HandAdapter, hand: Hand, qpos: Float[np.ndarray, "j"]) -> dict[str, Any]:
    """Return ``sensor_msgs/JointState`` as the maker's node takes it: motors in their order, zero at half a turn."""
    return {
        "header": _header(""),
        "name": list(adapter.motors),
        "position": adapter.to_motors(hand, qpos).tolist(),
        "velocity": [],
        "effort": [],
    }


def moveit_grasp(
    trajectory: HandTrajectory, adapter: HandAdapter, *, number: int, quality: float
) -> dict[str, Any]:
    """Return ``moveit_msgs/Grasp``: the pose is that of the arm's flange, the posture that of the joints.

    Args:
        trajectory: the plan.
        adapter: how the hand sits on the flange.
        number: of the grasp, its id.
        quality: higher is better.
    """
    by_name = {w.name: w for w in trajectory.waypoints}
    grasp = by_name["grasp"]
    approach = grasp.T_frame_base[:3, 3] - by_name["standoff"].T_frame_base[:3, 3]
    lift = by_name["lift"].T_frame_base[:3, 3] - grasp.T_frame_base[:3, 3]
    return {
        "id": f"{trajectory.hand}/{number}",
        "pre_grasp_posture": _joint_trajectory(trajectory, (by_name["pre-grasp"],)),
        "grasp_posture": _joint_trajectory(trajectory, (grasp, by_name["squeeze"])),
        "grasp_pose": {
            "header": _header(trajectory.frame),
            "pose": pose(adapter.mount.flange_pose(grasp.T_frame_base)),
        },
        "grasp_quality": float(quality),
        "pre_grasp_approach": _translation(approach, trajectory.frame),
        "post_grasp_retreat": _translation(lift, trajectory.frame),
        "post_place_retreat": _translation(-approach, trajectory.frame),
        "max_contact_force": 0.0,  # MoveIt: no limit beyond the posture's effort
        "allowed_touch_objects": [],
    }


def pose(T: Float[np.ndarray, "4 4"]) -> dict[str, Any]:
    """Return ``geometry_msgs/Pose``."""
    quat_xyzw = Rotation.from_matrix(T[:3, :3]).as_quat().tolist()
    return {"position": _vector(T[:3, 3]), "orientation": dict(zip("xyzw", quat_xyzw, strict=True))}


def _joint_trajectory(trajectory: HandTrajectory, waypoints: tuple[HandWaypoint, ...]) -> dict[str, Any]:
    start_s = waypoints[0].time_s
    return {
        "header": _header(""),
        "joint_names": list(trajectory.joint_names),
        "points": [
            {
                "positions": w.qpos.tolist(),
                "velocities": [],
                "accelerations": [],
                "effort": [trajectory.squeeze_nm] * len(w.qpos) if w.squeezes else [],
                "time_from_start": _duration(w.time_s - start_s),
            }
            for w in waypoints
        ],
    }


def _translation(by_m: Float[np.ndarray, "3"], frame: str) -> dict[str, Any]:
    length = float(np.linalg.norm(by_m))
    direction = by_m / length if length > 0 else by_m
    return {
        "direction": {"header": _header(frame), "vector": _vector(direction)},
        "desired_distance": length,
        "min_distance": length,
    }


def _vector(values: Float[np.ndarray, "3"]) -> dict[str, float]:
    return dict(zip("xyz", map(float, values), strict=True))


def _header(frame: str) -> dict[str, Any]:
    return {"stamp": dict(_NOW), "frame_id": frame}


def _duration(seconds: float) -> dict[str, int]:
    nanoseconds = round(seconds * 1e9)
    return {"sec": nanoseconds // 10**9, "nanosec": nanoseconds % 10**9}
