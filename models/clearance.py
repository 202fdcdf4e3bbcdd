"""How far hands are from what a camera saw beside the object: table and neighbors as observed, nothing completed."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.models.beside import (
    FAR_CLEARANCE_M,
    GRASPS_AT_ONCE,
    MEASURED,
    neighbor_points,
    points_beside,
)
from sceneleapultra.models.observed_points import deepest, sphere_power
from sceneleapultra.utils.geometry.voxels.field import OTHERS, SceneField
from sceneleapultra.utils.requests import GraspRequest


def observed_clearance(
    hand: Hand, hand_pose: Float[np.ndarray, "g p"], request: GraspRequest
) -> Float[np.ndarray, "g"]:
    """Return the least distance of each hand to the request's points beside its object, negative inside (m).

    Args:
        hand: the hand.
        hand_pose: grasps in the frame of the request.
        request: what was observed.
    """
    return _clearance(hand, *points_beside(request, hand_pose))


def neighbor_clearance(
    hand: Hand, hand_pose: Float[np.ndarray, "g p"], request: GraspRequest
) -> Float[np.ndarray, "g"]:
    """Return the same to the points of neighbors alone, not of the table (m)."""
    beside, moved = points_beside(request, hand_pose)
    return _clearance(hand, neighbor_points(beside, request.up), moved)


def _clearance(
    hand: Hand, beside: Float[np.ndarray, "n 3"], moved: Float[np.ndarray, "g p"]
) -> Float[np.ndarray, "g"]:
    if len(beside) == 0:
        return np.full(len(moved), FAR_CLEARANCE_M)
    device = hand.joint_limits.device
    points = torch.from_numpy(beside).to(device)
    parts = torch.from_numpy(moved).to(device).split(GRASPS_AT_ONCE)
    clearance: np.ndarray = (
        torch.cat([least_distance(hand, part, points) for part in parts]).double().cpu().numpy()
    )
    return clearance


def least_distance(
    hand: Hand, hand_pose: Float[Tensor, "g p"], points: Float[Tensor, "n 3"]
) -> Float[Tensor, "g"]:
    """Return the least distance of each hand to points in its frame, at most ``FAR_CLEARANCE_M``, negative inside."""
    pose, points = GraspPose.from_hand_pose(hand_pose), points[None, None]
    centers, radii = hand.spheres(pose)
    every = torch.ones(points.shape[:-1], dtype=torch.bool, device=points.device)
    near = deepest(sphere_power(centers[None], radii, points), points, every, MEASURED)[0]
    return hand.signed_distance(near, pose).amin(-1).clamp(max=FAR_CLEARANCE_M)


def field_clearance(
    hand: Hand, hand_pose: Float[np.ndarray, "g p"], field: SceneField
) -> Float[np.ndarray, "g"]:
    """Return the least distance of each hand's collision spheres to table and neighbors of a completed scene (m)."""
    least: np.ndarray = hypothesis_clearances(hand, hand_pose, field).min(0)
    return least


def hypothesis_clearances(
    hand: Hand, hand_pose: Float[np.ndarray, "g p"], field: SceneField
) -> Float[np.ndarray, "k g"]:
    """Return the same by each hypothesis of the scene (m)."""
    T = np.linalg.inv(field.T_grid_cloud)  # about whose origin numbers are small
    moved = np.array(hand_pose, dtype=np.float64)
    moved[:, :3] -= T[:3, 3]
    shift = np.eye(4)
    shift[:3, 3] = T[:3, 3]
    pose = torch.from_numpy(moved.astype(np.float32)).to(hand.joint_limits.device)
    centers, radii = hand.spheres(GraspPose.from_hand_pose(pose))
    gap = field.moved_to(shift).distances(centers)[..., OTHERS] - radii
    clearance: np.ndarray = gap.amin(-1).double().cpu().numpy()
    return clearance


def hand_span(hand: Hand) -> float:
    """Return the largest distance between two points of the hand at rest (m): it can span no object beyond."""
    low, high = hand.joint_limits.unbind(-1)
    rest = hand.rest_qpos if hand.knows("rest_qpos") else torch.zeros_like(low).clamp(low, high)
    eye = torch.eye(3, dtype=low.dtype, device=low.device)
    points, _ = hand.surface_points(GraspPose(torch.zeros_like(eye[0]), eye, rest))
    return float(torch.cdist(points, points).max())
