"""How a whole batch is expressed in another frame: points, camera, grasps and the record of the frame move jointly.

The scene itself stays as it is, so every distance between hand and object does.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from utils.batch import GraspBatch
from utils.keyed_random import KeyedRandom
from utils.rotation import quat_wxyz_from_matrix, quat_wxyz_product, so3_exp


def move_hand_pose(hand_pose: Float[Tensor, "b g p"], T: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b g p"]:
    """Express grasps in frame a, given ``T = T_a_b`` and poses in b."""
    R, t = T[:, :3, :3], T[:, :3, 3]
    translation = hand_pose[..., :3] @ R.transpose(1, 2) + t[:, None]
    turn = quat_wxyz_from_matrix(R)[:, None].expand(*hand_pose.shape[:2], 4)
    return torch.cat(
        (translation, hand_pose[..., 3:-4], quat_wxyz_product(turn, hand_pose[..., -4:])), dim=-1
    )


def express(batch: GraspBatch, T_new_old: Float[Tensor, "b 4 4"]) -> GraspBatch:
    """Express a batch in new frames, one for each item."""
    R, t = T_new_old[:, :3, :3], T_new_old[:, :3, 3]
    points = batch.scene_pc @ R.transpose(1, 2) + t[:, None]
    return replace(
        batch,
        scene_pc=points * batch.point_valid[..., None],
        viewpoint=(R @ batch.viewpoint[..., None]).squeeze(-1) + t,
        up=(R @ batch.up[..., None]).squeeze(-1),
        T_world_frame=batch.T_world_frame @ inverse(T_new_old),
        hand_pose=None if batch.hand_pose is None else move_hand_pose(batch.hand_pose, T_new_old),
    )


def inverse(T: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b 4 4"]:
    """Invert rigid motions."""
    R = T[:, :3, :3].transpose(1, 2)
    return _motion(R, -(R @ T[:, :3, 3:]).squeeze(-1))


def _motion(R: Float[Tensor, "b 3 3"], t: Float[Tensor, "b 3"]) -> Float[Tensor, "b 4 4"]:
    T = torch.zeros(len(R), 4, 4, dtype=R.dtype, device=R.device)
    T[:, :3, :3], T[:, :3, 3], T[:, 3, 3] = R, t, 1.0
    return T


@dataclass(frozen=True, kw_only=True)
class Yaw:
    """Turn the frame about its origin and the vertical."""

    probability: float
    max_deg: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch in turned frames."""
        angle = torch.deg2rad(random.between(-self.max_deg, self.max_deg, 1))
        R = so3_exp(batch.up * angle)
        return express(batch, _motion(R, torch.zeros_like(batch.viewpoint)))


@dataclass(frozen=True, kw_only=True)
class Tilt:
    """Roll the camera about its axis and pitch it about its horizontal: the frame is the camera's."""

    probability: float
    max_deg: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch in tilted frames."""
        roll, pitch = torch.deg2rad(random.between(-self.max_deg, self.max_deg, 2)).unbind(1)
        zero = torch.zeros_like(roll)
        R = so3_exp(torch.stack((pitch, zero, zero), 1)) @ so3_exp(torch.stack((zero, zero, roll), 1))
        return express(batch, _motion(R, torch.zeros_like(batch.viewpoint)))


@dataclass(frozen=True, kw_only=True)
class Translation:
    """Move the origin of the frame; along the vertical only where the height of the table is not part of it."""

    probability: float
    max_m: float
    vertical: bool

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch in shifted frames."""
        t = random.between(-self.max_m, self.max_m, 3)
        if not self.vertical:
            t = t - (t * batch.up).sum(-1, keepdim=True) * batch.up
        identity = torch.eye(3, device=t.device).expand(len(t), 3, 3)
        return express(batch, _motion(identity, t))
