"""From where a hand comes to its grasp, by what a camera saw: the first straight path along which it is free.

The rule is that of the protocol ``scene-lift``, which knows the whole scene; here it is applied to the observed points.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.utils.geometry.voxels.field import SceneField
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.cells import cells_of

STANDOFF_M = 0.12
_CHECKED_M = (0.02, 0.04, 0.07, 0.1, STANDOFF_M)
_TOLERANCE_M = 0.002  # deeper than at the pre-grasp
_START_M = 0.01  # deep in anything at the start
_CELL_M = 0.004  # one point of each is kept
_REACH_M = 0.5  # of a hand at its standoff about the object
_FAR_M = 0.05


@dataclass(frozen=True)
class Approaches:
    """Where hands start, of several grasps; each moves straight to its grasp, turned as it is there, fingers at the
    pre-grasp.
    """

    offset_m: Float[np.ndarray, "g 3"]  # of the hand's base at the start, seen from the grasp
    free: Bool[np.ndarray, "g"]  # nowhere deeper in what was observed than at the pre-grasp

    def waypoints(self, grasps: SampledGrasps) -> Float[np.ndarray, "g 2 7"]:
        """Return base poses [position 3, quaternion wxyz 4]: the start, and the grasp."""
        positions = np.stack([grasps.position + self.offset_m, grasps.position], axis=1)
        quat = np.broadcast_to(grasps.quat_wxyz[:, None], (len(grasps), 2, 4))
        return np.concatenate([positions, quat], axis=-1)


def choose_approaches(
    hand: Hand, grasps: SampledGrasps, request: GraspRequest, field: SceneField | None = None
) -> Approaches:
    """Return for each grasp the first free way of: back along the palm, between that and up, up; or the freest.

    A way is free where the hand's collision spheres are nowhere deeper in the observed points than at the pre-grasp,
    and start outside of them. What the camera did not see is not known to be free.

    Args:
        hand: the hand.
        grasps: of the request.
        request: what was observed, the object included.
        field: the completed scene, in which hands must be free, too; None where there is none.
    """
    center = request.target_points.mean(0, dtype=np.float64)
    points = request.points - center
    points = points[np.square(points).sum(-1) <= _REACH_M**2]
    tree = cKDTree(points[cells_of(points, _CELL_M).first])
    pose = np.concatenate([grasps.position - center, grasps.pregrasp_qpos, grasps.quat_wxyz], axis=1)
    placed = GraspPose.from_hand_pose(torch.from_numpy(pose.astype(np.float32)).to(hand.joint_limits.device))
    spheres, radii = (x.cpu().double().numpy() for x in hand.spheres(placed))

    about = None if field is None else field.moved_to(_shift(center))

    def depths(rows: np.ndarray, offset: np.ndarray) -> Float[np.ndarray, "r"]:
        distance, _ = tree.query(spheres[rows] + offset[:, None], distance_upper_bound=radii.max() + _FAR_M)
        depth: np.ndarray = (radii - np.minimum(distance, radii.max() + _FAR_M)).max(-1)
        if about is not None:
            centers = torch.from_numpy((spheres[rows] + offset[:, None]).astype(np.float32))
            inside = radii - about.distance(centers).amin(-1).numpy()
            depth = np.maximum(depth, inside.max(-1))
        return depth

    offset_m, blocked_m = np.zeros((len(grasps), 3)), np.full(len(grasps), np.inf)
    every = np.arange(len(grasps))
    allowed = depths(every, np.zeros((len(grasps), 3)))
    for ways in _directions(hand, placed, request.up):
        rows = np.flatnonzero(blocked_m > _TOLERANCE_M)
        if len(rows) == 0:
            break
        found = np.stack([depths(rows, s * ways[rows]) for s in _CHECKED_M])
        blocked = np.maximum((found - allowed[rows]).max(0), found[-1] - _START_M)
        better = blocked < blocked_m[rows]
        offset_m[rows[better]] = STANDOFF_M * ways[rows[better]]
        blocked_m[rows[better]] = blocked[better]
    return Approaches(offset_m, blocked_m <= _TOLERANCE_M)


def _shift(center: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    T = np.eye(4)
    T[:3, 3] = center
    return T


def _directions(hand: Hand, placed: GraspPose, up: Float[np.ndarray, "3"]) -> list[Float[np.ndarray, "g 3"]]:
    """Return unit vectors from the grasps to where they may be approached from, the preferred ones first."""
    above = np.broadcast_to(up, (len(placed.rotation), 3))
    if not hand.knows("palm_direction"):
        return [above]
    back = -(placed.rotation @ hand.palm_direction).cpu().double().numpy()
    mean = back + up
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    return [back, np.where(length > 1e-6, mean / np.maximum(length, 1e-6), above), above]
