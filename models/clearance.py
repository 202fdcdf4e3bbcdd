"""How far hands are from what a camera saw beside the object: table and neighbors as observed, nothing completed."""

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.models.observed_points import deepest, sphere_power
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.cells import cells_of

FAR_CLEARANCE_M = 0.1  # reported where nothing observed is nearer
_REACH_M = 0.35  # of a hand about its object
_CELL_M = 0.002  # one point of each is kept
_MEASURED = 192  # points of which the exact distance is taken: those deepest in the hand's spheres
_GRASPS_AT_ONCE = 8


def observed_clearance(
    hand: Hand, hand_pose: Float[np.ndarray, "g p"], request: GraspRequest
) -> Float[np.ndarray, "g"]:
    """Return the least distance of each hand to the request's points beside its object, negative inside (m).

    Args:
        hand: the hand.
        hand_pose: grasps in the frame of the request.
        request: what was observed.
    """
    center = request.target_points.mean(0, dtype=np.float64)
    beside = request.points[~request.object_mask] - center
    beside = beside[np.square(beside).sum(-1) <= _REACH_M**2]
    beside = beside[cells_of(beside, _CELL_M).first]
    if len(beside) == 0:
        return np.full(len(hand_pose), FAR_CLEARANCE_M)
    device = hand.joint_limits.device
    points = torch.from_numpy(beside.astype(np.float32)).to(device)[None, None]
    moved = np.array(hand_pose, dtype=np.float64)
    moved[:, :3] -= center
    every = torch.ones(points.shape[:-1], dtype=torch.bool, device=device)
    least = []
    for part in torch.from_numpy(moved.astype(np.float32)).to(device).split(_GRASPS_AT_ONCE):
        pose = GraspPose.from_hand_pose(part)
        centers, radii = hand.spheres(pose)
        near = deepest(sphere_power(centers[None], radii, points), points, every, _MEASURED)[0]
        least.append(hand.signed_distance(near, pose).amin(-1).clamp(max=FAR_CLEARANCE_M))
    clearance: np.ndarray = torch.cat(least).double().cpu().numpy()
    return clearance


def hand_span(hand: Hand) -> float:
    """Return the largest distance between two points of the hand at rest (m): it can span no object beyond."""
    low, high = hand.joint_limits.unbind(-1)
    rest = hand.rest_qpos if hand.knows("rest_qpos") else torch.zeros_like(low).clamp(low, high)
    eye = torch.eye(3, dtype=low.dtype, device=low.device)
    points, _ = hand.surface_points(GraspPose(torch.zeros_like(eye[0]), eye, rest))
    return float(torch.cdist(points, points).max())
