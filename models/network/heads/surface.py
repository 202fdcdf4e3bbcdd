"""A scorer that looks at the surface where the hand will touch it, through no encoder.

A grasp and the points near it as one cloud (Mousavian et al. 2019, 6-DOF GraspNet, sec. 3.3, put the gripper's points
beside the object's): here every surface point carries its exact signed distance to each link instead, at the grasp and
at the squeeze, so that nothing has to be learned about kinematics.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose
from sceneleapultra.models.network.contacts import PER_POINT, LinkContacts
from sceneleapultra.models.network.context import DecodedGrasps, SceneContext
from sceneleapultra.models.network.hand_encoder import layer_of_parts, through
from sceneleapultra.models.network.heads.base import HeadInputs
from sceneleapultra.models.network.heads.score import ScoreHead, ScoreHeadConfig
from sceneleapultra.models.network.surface import Surface
from sceneleapultra.utils.core.planned import device_kind
from sceneleapultra.utils.core.precision import full_precision
from sceneleapultra.utils.geometry.points import gather

_PER_POINT = 7  # position and normal in the hand's frame, whether it is the target's
_NEAREST, _FURTHEST = -2.0, 5.0  # distances to links are cut off there, in units of contact_scale


class SurfaceScoreHead(ScoreHead):
    """A small PointNet over the points nearest to a hand, in the frame of its base.

    Args:
        inputs: hand and codec, which it does not own.
        config: sizes.
    """

    def __init__(self, inputs: HeadInputs, config: "SurfaceScoreConfig") -> None:
        super().__init__()
        self.hand, self.codec, self.config, self.keep = inputs.hand, inputs.codec, config, config.keep
        self.links = LinkContacts(self.hand, scale=config.contact_scale)
        groups = inputs.codec.layout.groups
        self._joints, self._squeeze = groups["joints"], groups["squeeze"]
        # What comes of the hand's bodies, joints and points has as many numbers as there are, or a token for each.
        token, bodies, joints = inputs.dim_hand, len(self.hand.body_names), self.hand.num_joints
        points = self.links.dim // PER_POINT
        width = config.widths[0]
        layers: list[nn.Module] = [layer_of_parts(token, bodies, 2, _PER_POINT, width)]
        for wider in config.widths[1:]:
            layers += [nn.LayerNorm(width), nn.GELU(), nn.Linear(width, wider)]
            width = wider
        self.per_point = nn.Sequential(*layers, nn.LayerNorm(width), nn.GELU())
        around, dim = 2 * width, config.dim
        self.stable = _head(layer_of_parts(token, joints, 2, around + 6, dim), dim)
        first = layer_of_parts(token, points, 2 * PER_POINT, around, dim // 2)
        self.collision_free = _head(first, dim // 2)

    def forward(
        self, grasps: DecodedGrasps, scene: SceneContext, kept: Bool[Tensor, "b s"] | None = None
    ) -> Float[Tensor, "b g 2"]:
        """See :class:`~sceneleapultra.models.network.heads.base.GraspHead`."""
        pose, surface, g = grasps.pose, scene.surface, grasps.states.shape[1]
        with full_precision(pose.translation.device.type):  # millimetres
            # The grasps, then the same squeezed: kinematics, contacts and distances of both at once.
            both = GraspPose(
                torch.cat([pose.translation] * 2, dim=1),
                torch.cat([pose.rotation] * 2, dim=1),
                torch.cat([pose.qpos, grasps.squeeze_qpos], dim=1),
            )
            T_base_body = self.hand.forward_kinematics(both.qpos)
            placed = self.links.points(both, T_base_body)
            with torch.no_grad():
                index, shown = self._nearest(placed[:, :g, : self.links.num_keypoints], surface)
                if kept is not None:
                    shown = shown & gather(kept, index)
                    if device_kind(shown.device.type) == "cpu":  # a GPU would be waited for
                        index, shown = _first_shown(index, shown)
            points, links = self._points(pose, T_base_body, surface, index)
            contacts = self.links(both, self.codec.axes(both), surface, placed).unflatten(1, (2, g))
            joints, local = self._own(grasps, scene)
        hand = scene.hand
        x = through(self.per_point, (points,), links, (), hand and hand.body)
        mask = shown[..., None]
        # No GELU is below -1: that only stands for the maximum of no point at all.
        highest = x.masked_fill(~mask, float("-inf")).amax(-2).clamp(min=-1.0)
        mean = (x * mask).sum(-2) / mask.sum(-2).clamp(min=1)
        around = (highest, mean)
        parts = [
            through(self.stable, around, joints, (local,), hand and hand.joint),
            through(self.collision_free, around, contacts.permute(0, 2, 3, 1, 4), (), hand and hand.point),
        ]
        return torch.cat(parts, dim=-1).float()

    def _nearest(
        self, keys: Float[Tensor, "b g k 3"], surface: Surface
    ) -> tuple[Int[Tensor, "b g n"], Bool[Tensor, "b g n"]]:
        """Return the points of the target and of its surroundings that are nearest to the hand's key points.

        Where there are fewer than asked for, the rest is marked false.
        """
        distance = torch.cdist(surface.xyz, keys.flatten(1, 2)).unflatten(-1, keys.shape[1:3])
        distance = distance.amin(-1).transpose(1, 2)  # b g s
        chosen = []
        for left_out, count in (  # what is not valid, or not the target's; not valid, or the target's
            (surface.valid <= ~surface.target, self.config.target_points),
            (surface.valid <= surface.target, self.config.other_points),
        ):
            apart = distance.masked_fill(left_out[:, None], float("inf"))
            chosen.append(apart.topk(min(count, apart.shape[-1]), largest=False))
        shown = torch.cat([c.values for c in chosen], -1) < float("inf")
        return torch.cat([c.indices for c in chosen], -1), shown

    def _points(
        self,
        pose: GraspPose,
        T_base_body: Float[Tensor, "b h bodies 4 4"],
        surface: Surface,
        index: Int[Tensor, "b g n"],
    ) -> tuple[Float[Tensor, "b g n c"], Float[Tensor, "b g n bodies 2 1"]]:
        """Return what the network sees of each point, and its distances to the bodies of the hand, then squeezed."""
        found, rotation = gather(surface.table, index), pose.rotation.flatten(0, 1)
        offset = (found[..., :3] - pose.translation[..., None, :]).flatten(0, 1)
        local = torch.bmm(offset, rotation).unflatten(0, index.shape[:2])
        links = self.hand.geometry.by_body(local[:, None], T_base_body.unflatten(1, (2, -1)))
        links = links.div(self.config.contact_scale).clamp(_NEAREST, _FURTHEST)
        origin, axes = self.codec.origin(pose), self.codec.axes(pose).flatten(0, 1)
        if origin is not pose.translation:
            offset = (found[..., :3] - origin[..., None, :]).flatten(0, 1)
            local = torch.bmm(offset, axes).view_as(local)
        normal = torch.bmm(found[..., 3:6].flatten(0, 1), axes).view_as(local)
        near = torch.cat([local / self.config.reach, normal, found[..., 6:]], dim=-1)
        return near, links.permute(0, 2, 4, 3, 1)[..., None]

    def _own(
        self, grasps: DecodedGrasps, scene: SceneContext
    ) -> tuple[Float[Tensor, "b g j 2 1"], Float[Tensor, "b g 6"]]:
        """Return position and squeeze of the joints; gravity and the middle of what is seen of the target."""
        pose, surface = grasps.pose, scene.surface
        weight = surface.target.to(surface.xyz.dtype)[..., None]
        middle = weight.transpose(1, 2) @ surface.xyz / weight.sum(1, keepdim=True).clamp(min=1.0)
        offset = (middle - self.codec.origin(pose)) / self.config.reach
        local = torch.stack([offset, scene.up[:, None].expand_as(offset)], dim=-2) @ self.codec.axes(pose)
        states = grasps.states
        joints = torch.stack([states[..., self._joints], states[..., self._squeeze]], dim=-1)
        return joints[..., None], local.flatten(-2)


def _first_shown(
    index: Int[Tensor, "b g n"], shown: Bool[Tensor, "b g n"]
) -> tuple[Int[Tensor, "b g m"], Bool[Tensor, "b g m"]]:
    """Put what is shown first and leave out the places that no grasp fills: what nobody sees costs nothing."""
    most = max(1, int(shown.sum(-1).amax()))
    order = (~shown).to(torch.uint8).argsort(dim=-1, stable=True)[..., :most]
    return index.gather(-1, order), shown.gather(-1, order)


def _head(first: nn.Module, dim: int) -> nn.Sequential:
    return nn.Sequential(
        *(first, nn.LayerNorm(dim), nn.GELU()),
        *(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 1)),
    )


@dataclass(frozen=True, kw_only=True)
class SurfaceScoreConfig(ScoreHeadConfig):
    """Sizes of a :class:`SurfaceScoreHead`.

    Args:
        widths: of the layers that see each point.
        dim: width of the head that tells whether a grasp holds; that for being clear has half of it.
        target_points: points of the target that are looked at.
        other_points: points of table and neighbors.
        keep: share of them that a training step shows, drawn per scene.
        reach: length that positions are measured in (m).
        contact_scale: length that distances of links to the surface are measured in (m).
    """

    at_least_one = ("widths", "dim", "target_points", "other_points")
    widths: tuple[int, ...]
    dim: int
    target_points: int
    other_points: int
    keep: float
    reach: float

    def __post_init__(self) -> None:
        """Refuse what no scorer can have."""
        object.__setattr__(self, "widths", tuple(self.widths))
        super().__post_init__()
        if not 0.0 < self.keep <= 1.0 or not self.reach > 0.0:
            raise ValueError(
                f"model.generator.heads.score: expected keep in (0, 1] and a positive reach, got {self.keep} "
                f"and {self.reach}."
            )

    def build(self, inputs: HeadInputs) -> SurfaceScoreHead:
        """Make the head."""
        return SurfaceScoreHead(inputs, self)
