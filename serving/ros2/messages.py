"""Messages of the action ``GenerateGrasps`` as plain dictionaries, to and from a client's call; needs no ROS.

In a node: ``served = GraspClient().grasps(**goal_as_request(message_to_ordereddict(goal)))``, then
``set_message_fields(result, served_as_result(served, goal["cloud"]["header"]))``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sceneleapultra.serving.answer import ServedGrasps

_TYPES = {7: "f4", 8: "f8"}  # sensor_msgs/PointField: FLOAT32, FLOAT64


def goal_as_request(goal: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of :meth:`~sceneleapultra.serving.client.GraspClient.grasps`.

    Args:
        goal: of the action.

    Raises:
        ValueError: a cloud without x, y, z, or indices beyond it.
    """
    points = _points(goal["cloud"])
    request: dict[str, Any] = {
        "points": points,
        "frame": goal["cloud"]["header"]["frame_id"],
        "num_grasps": int(goal["num_grasps"]),
        "seed": int(goal["seed"]),
    }
    index = np.asarray(goal["object_indices"], dtype=np.int64)
    if index.size:
        if index.max() >= len(points):
            raise ValueError(
                f"object_indices: expected less than {len(points)}, the number of points, got {index.max()}."
            )
        request["mask"] = np.zeros(len(points), dtype=bool)
        request["mask"][index] = True
    for name in ("up", "viewpoint"):
        if len(goal[name]):
            request[name] = [goal[name][0][axis] for axis in "xyz"]
    optional = {"best": int(goal["best"]), "deadline_s": float(goal["deadline_s"])}
    return request | {name: value for name, value in optional.items() if value}


def served_as_result(served: ServedGrasps, header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of the action.

    Args:
        served: what the service answered.
        header: of the cloud.
    """
    grasps = served.grasps
    return {
        "header": {**header, "frame_id": grasps.frame},
        "hand": grasps.hand,
        "joint_names": list(grasps.joint_names),
        "grasps": [_candidate(served, i) for i in range(len(grasps))],
        "notes": list(served.notes),
        "warnings": list(grasps.warnings),
    }


def _candidate(served: ServedGrasps, i: int) -> dict[str, Any]:
    grasps = served.grasps
    return {
        "pose": _pose([*grasps.position[i], *grasps.quat_wxyz[i]]),
        "waypoints": [_pose(way) for way in served.waypoints[i]],
        "approach_free": bool(served.free[i]),
        "pregrasp_qpos": grasps.pregrasp_qpos[i].tolist(),
        "qpos": grasps.qpos[i].tolist(),
        "squeeze_qpos": grasps.squeeze_qpos[i].tolist(),
        "score": float(grasps.score[i]),
        "p_stable": math.nan if grasps.p_stable is None else float(grasps.p_stable[i]),
        "p_collision_free": math.nan
        if grasps.p_collision_free is None
        else float(grasps.p_collision_free[i]),
        "clearance_m": float(grasps.clearance_m[i]),
    }


def _pose(values: Sequence[float] | np.ndarray) -> dict[str, dict[str, float]]:
    """Return a geometry_msgs/Pose, whose quaternion is xyzw."""
    x, y, z, qw, qx, qy, qz = map(float, values)
    return {"position": {"x": x, "y": y, "z": z}, "orientation": {"x": qx, "y": qy, "z": qz, "w": qw}}


def _points(cloud: Mapping[str, Any]) -> np.ndarray:
    fields = {field["name"]: field for field in cloud["fields"]}
    if not all(axis in fields and fields[axis]["datatype"] in _TYPES for axis in "xyz"):
        raise ValueError(
            f"cloud: expected the fields x, y and z as FLOAT32 or FLOAT64, got {', '.join(fields) or 'none'}."
        )
    order = ">" if cloud["is_bigendian"] else "<"
    layout = np.dtype(
        {
            "names": list("xyz"),
            "formats": [order + _TYPES[fields[axis]["datatype"]] for axis in "xyz"],
            "offsets": [fields[axis]["offset"] for axis in "xyz"],
            "itemsize": cloud["point_step"],
        }
    )
    data = np.frombuffer(bytes(cloud["data"]), dtype=np.uint8)
    height, width, row_step = cloud["height"], cloud["width"], cloud["row_step"]
    if data.size != height * row_step or row_step < width * layout.itemsize:
        raise ValueError(
            f"cloud: {height} rows of {row_step} bytes with {width} points of {layout.itemsize} bytes each do not fit "
            f"the {data.size} bytes of its data."
        )
    rows = np.ascontiguousarray(data.reshape(height, row_step)[:, : width * layout.itemsize])
    points = rows.reshape(-1).view(layout)
    return np.stack([points[axis].astype(points[axis].dtype.newbyteorder("=")) for axis in "xyz"], axis=-1)
