"""One grasp that looks at the origin, and a cloud about it: for what hands meet on their way."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from sceneleapultra.hands import load_hand
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.utils.requests import GraspRequest

HAND = load_hand("leap_right")
UP = np.array([0.0, 0.0, 1.0])


def turn_to(direction: np.ndarray) -> np.ndarray:
    """Return the quaternion (wxyz) that turns the palm to a direction."""
    return Rotation.align_vectors([direction], [HAND.palm_direction.numpy()])[0].as_quat(scalar_first=True)


def grasp(direction: np.ndarray, distance: float = 0.15) -> SampledGrasps:
    """A hand whose palm looks at the origin along a direction."""
    quat = turn_to(direction)
    qpos = HAND.joint_limits.clamp(-0.1, 0.1).mean(-1).numpy()[None]
    pose = np.concatenate([-distance * direction, qpos[0], quat])[None].astype(np.float64)
    made = empty_grasp()
    return replace(made, hand_pose=pose, pregrasp_qpos=qpos, squeeze_qpos=qpos)


def empty_grasp() -> SampledGrasps:
    one = np.zeros(1)
    return SampledGrasps(
        hand_pose=np.zeros((1, 23)),
        pregrasp_qpos=np.zeros((1, 16)),
        squeeze_qpos=np.zeros((1, 16)),
        score=one,
        p_stable=None,
        p_collision_free=None,
        clearance_m=one,
        joint_names=tuple(HAND.joint_names),
        hand=HAND.name,
        frame="map",
        nfe=1,
    )


def request(obstacle: np.ndarray | None = None) -> GraspRequest:
    rng = np.random.default_rng(0)
    target = 0.01 * rng.standard_normal((200, 3))
    points = target if obstacle is None else np.concatenate([target, obstacle])
    return GraspRequest(
        points=points, object_mask=np.arange(len(points)) < 200, viewpoint=np.array([0.5, 0.0, 0.5]), up=UP
    )
