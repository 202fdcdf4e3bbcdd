"""How near each part of a hand is to the observed surface: what decides whether a grasp touches or penetrates."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.hands.rows import contact_points
from sceneleapultra.models.network.hand_encoder import HandTokens, LinearOfTokens
from sceneleapultra.models.network.surface import Surface
from sceneleapultra.utils.core.precision import full_precision
from sceneleapultra.utils.geometry.points import gather

PER_POINT = (
    6  # signed distance along the normal, distance, whether it is the target, the normal in the hand's frame
)


class LinkContacts(nn.Module):
    """Says, for points all over a hand, where the nearest observed surface lies.

    A surface point stands for a small patch of plane: the distance along its normal tells millimetres although points
    are further apart. Kinematics give the network for free what it would have to learn from joint angles.

    Args:
        hand: whose kinematics and points are used.
        scale: distances are measured in it and cut off at three of it (m).

    Attributes:
        dim: how many numbers that are.
        num_keypoints: how many of the points come first and are the hand's key points.
    """

    _stacked: Tensor
    _stacked_by_level: Tensor
    _per_number: Tensor

    def __init__(self, hand: Hand, *, scale: float) -> None:
        super().__init__()
        self.hand, self.scale = hand, scale
        stacked, _ = contact_points(hand)
        self.register_buffer("_stacked", stacked, persistent=False)
        order = hand.kinematics.from_levels.argsort()
        by_level = stacked.unflatten(0, (-1, 4))[order].flatten(0, 1)
        self.register_buffer("_stacked_by_level", by_level, persistent=False)
        per_number = torch.tensor([1.0 / scale] * 2 + [1.0] * (PER_POINT - 2), dtype=stacked.dtype)
        self.register_buffer("_per_number", per_number, persistent=False)
        self.num_keypoints, self.dim = len(hand.require("keypoints")), PER_POINT * stacked.shape[1]

    def forward(
        self,
        pose: GraspPose,
        axes: Float[Tensor, "b g 3 3"],
        surface: Surface,
        points: Float[Tensor, "b g k 3"] | None = None,
    ) -> Float[Tensor, "b g k c"]:
        """Return the numbers of each point, in units of ``scale``; the pose is in the frame of the cloud.

        Args:
            pose: of the grasps.
            axes: in which normals are given, see :meth:`~sceneleapultra.models.representation.GraspCodec.axes`.
            surface: that they may touch.
            points: of the hand, see ``points``, where they are known.
        """
        with full_precision(pose.translation.device.type):  # kinematics and millimetres
            if points is None:
                levels = self.hand.kinematics.levels(pose.qpos)
                rows = torch.cat([level.unflatten(-1, (4, 4)).permute(1, 2, 0, 3) for level in levels], dim=2)
                points = self._placed(pose, rows.flatten(2).flatten(0, 1) @ self._stacked_by_level)
            found = gather(surface.table, surface.nearest(points))
            normal, offset = found[..., 3:6], points - found[..., :3]
            along, distance = (offset * normal).sum(-1, keepdim=True), offset.norm(dim=-1, keepdim=True)
            local = torch.bmm(normal.flatten(0, 1), axes.flatten(0, 1)).view_as(normal)
            numbers = torch.cat([along, distance, found[..., 6:], local], dim=-1)
            return numbers.mul(self._per_number).clamp(-3.0, 3.0)  # the last four are within one

    def points(
        self, pose: GraspPose, T_base_body: Float[Tensor, "b g bodies 4 4"]
    ) -> Float[Tensor, "b g k 3"]:
        """Return the key points of all links, and the middle of each finger's pad, in the frame of the cloud."""
        rows = T_base_body.transpose(-3, -2).reshape(-1, len(self._stacked))
        return self._placed(pose, rows @ self._stacked)

    def _placed(self, pose: GraspPose, homogeneous: Float[Tensor, "m k"]) -> Float[Tensor, "b g k 3"]:
        base = homogeneous.view(-1, 4, homogeneous.shape[1])[:, :3]
        translation, rotation = pose.translation.flatten(0, 1), pose.rotation.flatten(0, 1)
        points = torch.baddbmm(translation[:, None], base.transpose(1, 2), rotation.transpose(1, 2))
        return points.unflatten(0, pose.translation.shape[:2])


class ContactFeatures(nn.Module):
    """Embeds what :class:`LinkContacts` says.

    Args:
        hand: whose kinematics and points are used.
        dim: width of the embedding.
        scale: see :class:`LinkContacts`.
        dim_hand: width of a hand's tokens; None for a network of one hand.
    """

    def __init__(self, hand: Hand, *, dim: int, scale: float, dim_hand: int | None) -> None:
        super().__init__()
        self.links = LinkContacts(hand, scale=scale)
        first: nn.Module = nn.Linear(self.links.dim, dim)
        if dim_hand is not None:
            first = LinearOfTokens(dim_token=dim_hand, per_part=PER_POINT, rest=0, dim_out=dim)
        self.mlp = nn.Sequential(first, nn.GELU(), nn.Linear(dim, dim))

    def forward(
        self, pose: GraspPose, axes: Float[Tensor, "b g 3 3"], surface: Surface, hand: HandTokens | None
    ) -> Float[Tensor, "b g d"]:
        """Return one embedding per grasp; the pose is in the frame of the cloud."""
        near = self.links(pose, axes, surface)
        if hand is None:
            return self.mlp(near.flatten(-2))
        return self.mlp[1:](self.mlp[0](near, None, hand.point))
