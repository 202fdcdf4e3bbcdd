"""What somebody's camera saw, and hands at the grasps that were made for it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.reporting.drawing import UNTESTED, CloudView, ColoredHands, Drawing, draw_cloud
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.request import level_plane


def draw_request(
    request: GraspRequest, hand: Hand, hand_pose: Float[np.ndarray, "g p"], details: Sequence[str]
) -> list[Drawing]:
    """Draw a cloud once for each grasp.

    Args:
        request: the cloud.
        hand: on the processor.
        hand_pose: grasps in the frame of the request, the best first.
        details: a line on each that is drawn.
    """
    on_table = request.table is not None
    center = request.target_points.mean(0, dtype=np.float64)
    # The page's origin is under the object: a cloud may be in a map's coordinates.
    T = upright(request.up, center, level_plane(request).height_of(center) if on_table else 0.0)
    cloud = CloudView(request.points @ T[:3, :3].T + T[:3, 3], request.object_mask, on_table)
    poses = GraspPose.from_hand_pose(torch.from_numpy(np.asarray(hand_pose, dtype=np.float64)))
    placed = poses.transform(torch.from_numpy(T)).to_hand_pose().numpy()
    return [
        draw_cloud(
            cloud,
            ColoredHands(hand, placed[i : i + 1], [UNTESTED]),
            caption=f"grasp {i + 1}",
            detail=detail,
        )
        for i, detail in enumerate(details)
    ]


def upright(
    up: Float[np.ndarray, "3"], center: Float[np.ndarray, "3"], height: float
) -> Float[np.ndarray, "4 4"]:
    """Return the rigid motion that makes ``up`` the z axis and puts ``center`` at (0, 0, ``height``)."""
    T = np.eye(4)
    T[:3, :3] = Rotation.align_vectors([[0.0, 0.0, 1.0]], [up])[0].as_matrix()
    T[:3, 3] = np.array([0.0, 0.0, height]) - T[:3, :3] @ center
    return T
