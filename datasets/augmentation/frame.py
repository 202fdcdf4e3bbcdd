"""How a whole batch is expressed in another frame: points, camera, grasps and the record of the frame move jointly.

The scene itself stays as it is, so every distance between hand and object does.
"""

from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.datasets.augmentation.base import Transform
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.keyed_random import KeyedRandom
from sceneleapultra.utils.geometry.rotation import quat_wxyz_product


def move_hand_pose(
    hand_pose: Float[Tensor, "b g p"], t: Float[Tensor, "b 3"], quat_wxyz: Float[Tensor, "b 4"]
) -> Float[Tensor, "b g p"]:
    """Express grasps in frame a, given the motion from b into a: a turn, then a shift."""
    left, R = _products(quat_wxyz)
    moved = hand_pose[..., :3] @ R.transpose(1, 2) + t[:, None]
    return torch.cat((moved, hand_pose[..., 3:-4], hand_pose[..., -4:] @ left.transpose(1, 2)), dim=-1)


def express(batch: GraspBatch, t: Float[Tensor, "b 3"], quat_wxyz: Float[Tensor, "b 4"]) -> GraspBatch:
    """Express a batch in new frames, one for each item: points are turned, then shifted."""
    R = _products(quat_wxyz)[1]
    # Points, camera and origin in one product; the vertical is turned only.
    old = torch.cat((batch.scene_pc, batch.viewpoint[:, None]), dim=1)
    new = torch.baddbmm(t[:, None], old, R.transpose(1, 2).contiguous())
    T_world_frame = batch.T_world_frame.clone()
    R_world_new = batch.T_world_frame[:, :3, :3] @ R.transpose(1, 2)
    T_world_frame[:, :3, :3] = R_world_new
    T_world_frame[:, :3, 3] -= (R_world_new @ t[..., None]).squeeze(-1)
    return replace(
        batch,
        scene_pc=new[:, :-1].mul_(batch.point_valid[..., None]),
        viewpoint=new[:, -1],
        up=(R @ batch.up[..., None]).squeeze(-1),
        T_world_frame=T_world_frame,
        hand_pose=None if batch.hand_pose is None else move_hand_pose(batch.hand_pose, t, quat_wxyz),
    )


# Entry (i, j) of the matrices with which a quaternion multiplies from the left and from the right: which of its four
# numbers, and its sign.
_PLACE = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
_LEFT = [[1, -1, -1, -1], [1, 1, -1, 1], [1, 1, 1, -1], [1, -1, 1, 1]]
_RIGHT = [[1, -1, -1, -1], [1, 1, 1, -1], [1, -1, 1, 1], [1, 1, -1, 1]]


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    place = torch.tensor(_PLACE, device=device)
    left, right = (torch.tensor(sign, dtype=torch.float32, device=device) for sign in (_LEFT, _RIGHT))
    return place, left, right


def _products(quat_wxyz: Float[Tensor, "b 4"]) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, "b 3 3"]]:
    """Return the matrix of multiplying by a unit quaternion from the left, and its rotation: q p q* of vectors p.

    A dozen operations on all items; forming the nine entries one by one takes four times as many.
    """
    place, left_sign, right_sign = _tables(quat_wxyz.device)
    entries = quat_wxyz[:, place]
    left = entries * left_sign
    # The matrix of the conjugate from the right is the transpose of that of the quaternion.
    return left, (left @ (entries * right_sign).transpose(1, 2))[:, 1:, 1:]


def turn(axis: Float[Tensor, "b 3"], angle: Float[Tensor, "b 1"]) -> Float[Tensor, "b 4"]:
    """Return the quaternions (wxyz) of turns about unit axes."""
    half = 0.5 * angle
    return torch.cat((half.cos(), half.sin() * axis), dim=1)


@dataclass(frozen=True, kw_only=True)
class Yaw(Transform):
    """Turn the frame about its origin and the vertical."""

    max_deg: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch in turned frames."""
        angle = torch.deg2rad(random.between(-self.max_deg, self.max_deg, 1))
        return express(batch, torch.zeros_like(batch.up), turn(batch.up, angle))


@dataclass(frozen=True, kw_only=True)
class Tilt(Transform):
    """Roll the camera about its axis and pitch it about its horizontal: the frame is the camera's."""

    max_deg: float

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch in tilted frames."""
        roll, pitch = torch.deg2rad(random.between(-self.max_deg, self.max_deg, 2)).split(1, dim=1)
        x, _, z = torch.eye(3, device=roll.device).expand(len(roll), 3, 3).unbind(1)
        return express(batch, torch.zeros_like(batch.up), quat_wxyz_product(turn(x, pitch), turn(z, roll)))


@dataclass(frozen=True, kw_only=True)
class Translation(Transform):
    """Move the origin of the frame; along the vertical only where the height of the table is not part of it."""

    max_m: float
    vertical: bool

    def __call__(self, batch: GraspBatch, random: KeyedRandom) -> GraspBatch:
        """Return the batch in shifted frames."""
        t = random.between(-self.max_m, self.max_m, 3)
        if not self.vertical:
            t = t - (t * batch.up).sum(-1, keepdim=True) * batch.up
        return express(batch, t, turn(batch.up, torch.zeros_like(t[:, :1])))
