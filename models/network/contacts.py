"""How near each part of a hand is to the observed surface: what decides whether a grasp touches or penetrates."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.models.network.surface import Surface
from sceneleapultra.utils.geometry.points import gather

_PER_POINT = (
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
    """

    _pads: Tensor

    def __init__(self, hand: Hand, *, scale: float) -> None:
        super().__init__()
        self.hand, self.scale = hand, scale
        finger = torch.nn.functional.one_hot(hand.contact_finger, len(hand.finger_names)).T.float()
        self.register_buffer("_pads", finger / finger.sum(-1, keepdim=True), persistent=False)
        self.dim = _PER_POINT * (len(hand.keypoints(_rest(hand))[0]) + len(hand.finger_names))

    def forward(self, pose: GraspPose, surface: Surface) -> Float[Tensor, "b g c"]:
        """Return the numbers of each grasp, in units of ``scale``; the pose is in the frame of the cloud."""
        with torch.autocast(pose.translation.device.type, enabled=False):  # kinematics and millimetres
            points = self._points(pose)
            nearest = surface.nearest(points)
            normal, offset = gather(surface.normal, nearest), points - gather(surface.xyz, nearest)
            along, distance = (offset * normal).sum(-1, keepdim=True), offset.norm(dim=-1, keepdim=True)
            near = torch.cat([along, distance], dim=-1).div(self.scale).clamp(-3.0, 3.0)
            target = gather(surface.target, nearest)[..., None].to(near.dtype)
            local = torch.einsum("bgki,bgij->bgkj", normal, pose.rotation)
            return torch.cat([near, target, local], dim=-1).flatten(-2)

    def _points(self, pose: GraspPose) -> Float[Tensor, "b g k 3"]:
        """Key points of all links, and the middle of each finger's pad."""
        candidates, _ = self.hand.contact_candidates(pose)
        return torch.cat([self.hand.keypoints(pose), self._pads @ candidates], dim=-2)


class ContactFeatures(nn.Module):
    """Embeds what :class:`LinkContacts` says.

    Args:
        hand: whose kinematics and points are used.
        dim: width of the embedding.
        scale: see :class:`LinkContacts`.
    """

    def __init__(self, hand: Hand, *, dim: int, scale: float) -> None:
        super().__init__()
        self.links = LinkContacts(hand, scale=scale)
        self.mlp = nn.Sequential(nn.Linear(self.links.dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, pose: GraspPose, surface: Surface) -> Float[Tensor, "b g d"]:
        """Return one embedding per grasp; the pose is in the frame of the cloud."""
        return self.mlp(self.links(pose, surface))


def _rest(hand: Hand) -> GraspPose:
    return GraspPose(torch.zeros(1, 3), torch.eye(3)[None], hand.rest_qpos[None])
