"""How poses move and how far apart they are: [position 3, quaternion wxyz 4] of rigid bodies, in float64."""

import math

import mujoco
import numpy as np
from jaxtyping import Float


def unit_pose(name: str, pose: Float[np.ndarray, "_"]) -> Float[np.ndarray, "7"]:
    """Return the pose with a quaternion of length one.

    Raises:
        ValueError: not seven finite numbers, or a quaternion of length zero.
    """
    pose = np.array(pose, dtype=float)
    if pose.shape != (7,):
        raise ValueError(f"{name}: expected a pose [position 3, quaternion wxyz 4], got shape {pose.shape}.")
    length = np.linalg.norm(pose[3:])
    if not np.isfinite(pose).all() or length < 1e-6:
        raise ValueError(f"{name}: expected finite numbers and a non-zero quaternion, got {pose.tolist()}.")
    pose[3:] /= length
    return pose


def interpolate_pose(
    start: Float[np.ndarray, "7"], end: Float[np.ndarray, "7"], fraction: float
) -> Float[np.ndarray, "7"]:
    """Return the pose at a fraction of the way: position on a line, rotation on the shorter arc (slerp)."""
    position = (1 - fraction) * start[:3] + fraction * end[:3]
    a, b = start[3:], end[3:]
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = math.acos(min(1.0, cosine))
    if angle < 1e-9:
        return np.concatenate([position, a])
    quat = (math.sin((1 - fraction) * angle) * a + math.sin(fraction * angle) * b) / math.sin(angle)
    return np.concatenate([position, quat])


def interpolate_stage(
    start: Float[np.ndarray, "h"], end: Float[np.ndarray, "h"], fraction: float
) -> Float[np.ndarray, "h"]:
    """Return the stage at a fraction of the way: base as a pose, joints on a line."""
    base = interpolate_pose(start[:7], end[:7], fraction)
    return np.concatenate([base, (1 - fraction) * start[7:] + fraction * end[7:]])


def shifted(stage: Float[np.ndarray, "h"], by_m: Float[np.ndarray, "3"]) -> Float[np.ndarray, "h"]:
    """Return the stage with its base moved, world frame."""
    return np.concatenate([stage[:3] + by_m, stage[3:]])


def relocate(pose: Float[np.ndarray, "7"], offset: Float[np.ndarray, "7"]) -> Float[np.ndarray, "7"]:
    """Return T_world_a for ``pose`` = T_world_b and ``offset`` = T_a_b."""
    position, quat = np.empty(3), np.empty(4)
    inverse_position, inverse_quat = np.empty(3), np.empty(4)
    mujoco.mju_negPose(inverse_position, inverse_quat, offset[:3], offset[3:])
    mujoco.mju_mulPose(position, quat, pose[:3], pose[3:], inverse_position, inverse_quat)
    return np.concatenate([position, quat])


def displacement(start: Float[np.ndarray, "7"], end: Float[np.ndarray, "7"]) -> tuple[float, float]:
    """Return how far (m) and by what angle (deg) a body moved; q and -q are the same rotation."""
    cosine = abs(float(start[3:] @ end[3:]))
    distance = float(np.linalg.norm(end[:3] - start[:3]))
    return distance, math.degrees(2 * math.acos(min(1.0, cosine)))


def pose_from_matrix(T: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "7"]:
    """Return a rigid transform as a pose."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(T[:3, :3], dtype=float).ravel())
    return np.concatenate([T[:3, 3], quat])
