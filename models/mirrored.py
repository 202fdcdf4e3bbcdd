"""A right hand's model that serves the left hand: the cloud is mirrored, and so is the answer.

With the mirror ``S`` of the cloud's frame, a grasp ``(t, R, q)`` of the right hand in the mirrored cloud is the grasp
``(S t, S R S, q)`` of its mirror image in the cloud itself: every body is where the right hand's is, mirrored.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.hands import Hand
from sceneleapultra.hands.mirror import MIRROR, mirrored
from sceneleapultra.models.inference import GraspModel
from sceneleapultra.models.other_hand import OtherHandModel, Pose
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.utils.requests import GraspRequest

_OF_QUAT = np.array([1.0, -1.0, 1.0, -1.0])  # S R S, as a quaternion wxyz


@dataclass(frozen=True)
class MirroredModel(OtherHandModel):
    """A model that generates grasps of its hand's mirror image.

    Example:
        >>> model = MirroredModel.of(load_grasp_model("leap_table"), load_hand("leap_left"))
        >>> grasps = model.sample(points, 64, object_mask=mask, up=up)
    """

    @staticmethod
    def check_hand(model: GraspModel, hand: Hand) -> None:
        """Refuse a hand that is not the mirror image of the model's."""
        if not is_mirror_image(hand, model.hand):
            raise ValueError(
                f"Hand '{hand.name}' is not the mirror image of '{model.hand.name}', which this model moves. Give its "
                f"card the description of '{model.hand.name}' and `mirror: true`, train a model of it, or let it "
                f"take over the grasps of '{model.hand.name}' (--retarget, retarget=true)."
            )

    def own_request(self, request: GraspRequest) -> GraspRequest:
        """Return the mirrored request."""
        return mirror_request(request)

    def own_object_pose(self, T_cloud_object: Pose | None) -> Pose | None:
        """Return the mirrored pose."""
        S = np.diag([*np.diag(MIRROR), 1.0])
        return None if T_cloud_object is None else S @ T_cloud_object @ S

    def convert(self, request: GraspRequest, made: SampledGrasps, sampling: Any) -> SampledGrasps:
        """Return the mirrored grasps."""
        return replace(
            made,
            hand_pose=mirror_poses(made.hand_pose),
            hand=self.hand.name,
            trajectory=None if made.trajectory is None else mirror_poses(made.trajectory),
        )


def is_mirror_image(hand: Hand, of: Hand) -> bool:
    """Return whether a hand is another's mirror image, joint by joint."""
    image = mirrored(of.description, hand.name)
    return image.table_hash() == hand.table_hash and image.joint_names == hand.joint_names


def mirror_request(request: GraspRequest) -> GraspRequest:
    """Mirror a cloud, with all that is known of it, in the plane y = 0 of its frame."""
    s = np.diag(MIRROR)
    table = None if request.table is None else replace(request.table, up=request.table.up * s)
    return replace(
        request, points=request.points * s, viewpoint=request.viewpoint * s, up=request.up * s, table=table
    )


def mirror_poses(hand_pose: Float[np.ndarray, "*b p"]) -> Float[np.ndarray, "*b p"]:
    """Mirror hand poses ``[translation, joints, quaternion wxyz]``."""
    joints = hand_pose.shape[-1] - 7
    return hand_pose * np.concatenate([np.diag(MIRROR), np.ones(joints), _OF_QUAT]).astype(hand_pose.dtype)
