"""What a grasp pose is, and the one place where it is packed into a vector and read back."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sceneleapultra.utils.geometry.rotation import (
    matrix_from_quat_wxyz,
    matrix_from_rot6d,
    quat_wxyz_from_matrix,
    rot6d_from_matrix,
)


@dataclass(frozen=True)
class GraspPose:
    """Poses of a hand's base in some frame, and its joint angles in the hand's joint order.

    Two vector forms: ``hand_pose`` = [translation 3, joints j, quaternion wxyz 4] is what files hold,
    the packed form = [translation 3, joints j, rot6d 6] is what networks see.
    """

    translation: Float[Tensor, "*b 3"]
    rotation: Float[Tensor, "*b 3 3"]
    qpos: Float[Tensor, "*b j"]

    @classmethod
    def from_hand_pose(cls, hand_pose: Float[Tensor, "*b p"]) -> "GraspPose":
        """Read the data-set form."""
        j = _num_joints(hand_pose, 7, "hand_pose = [translation 3, joints j, quaternion 4]")
        translation, qpos, quat = hand_pose.split((3, j, 4), dim=-1)
        return cls(translation, matrix_from_quat_wxyz(quat), qpos)

    def to_hand_pose(self) -> Float[Tensor, "*b p"]:
        """Write the data-set form."""
        return torch.cat((self.translation, self.qpos, quat_wxyz_from_matrix(self.rotation)), dim=-1)

    @classmethod
    def unpack(cls, vector: Float[Tensor, "*b d"]) -> "GraspPose":
        """Read the network form; the rotation is orthonormalized."""
        j = _num_joints(vector, 9, "pose vector = [translation 3, joints j, rot6d 6]")
        translation, qpos, rot6d = vector.split((3, j, 6), dim=-1)
        return cls(translation, matrix_from_rot6d(rot6d), qpos)

    def pack(self) -> Float[Tensor, "*b d"]:
        """Write the network form."""
        return torch.cat((self.translation, self.qpos, rot6d_from_matrix(self.rotation)), dim=-1)

    @classmethod
    def from_matrix(cls, T: Float[Tensor, "*b 4 4"], qpos: Float[Tensor, "*b j"]) -> "GraspPose":
        """Join a homogeneous pose of the base and joint angles."""
        return cls(T[..., :3, 3], T[..., :3, :3], qpos)

    def matrix(self) -> Float[Tensor, "*b 4 4"]:
        """Return the base pose as homogeneous matrices."""
        rotation, column = functional.pad(self.rotation, (0, 0, 0, 1)), self.translation.new_ones(())
        column = torch.cat((self.translation, column.expand_as(self.translation[..., :1])), dim=-1)
        return torch.cat((rotation, column[..., None]), dim=-1)

    def transform(self, T: Float[Tensor, "*b 4 4"]) -> "GraspPose":
        """Return the same grasps in frame a, given ``T = T_a_b`` and poses in b; batch axes broadcast."""
        R, t = T[..., :3, :3], T[..., :3, 3]
        rotation = R @ self.rotation
        translation = (R @ self.translation[..., None]).squeeze(-1) + t
        return GraspPose(translation, rotation, self.qpos.expand(*translation.shape[:-1], -1))


def _num_joints(vector: Tensor, rest: int, layout: str) -> int:
    if vector.shape[-1] < rest:
        raise ValueError(
            f"Expected {layout} on the last axis, so at least {rest} numbers, got {vector.shape[-1]}."
        )
    return vector.shape[-1] - rest
