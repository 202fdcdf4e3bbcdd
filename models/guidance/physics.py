"""How the laws of contact steer sampling: energies of the predicted grasp, pushed down on the last steps.

A few of Polyak's steps per evaluation (:mod:`models.guidance.correction`), for every grasp by itself. The gradient is
that of the hand's geometry alone: it stops at the predicted x0 and never enters the network, so a step costs kinematics
and the distances of a few points, not a backward pass of the network as in DexGrasp Anything (Zhong et al. 2025). The
next denoising step sees the corrected sample.

One view shows the near side of an object only. Points some way behind what is seen of the target, along the camera's
rays, stand for its inside: without them a finger that has passed through the surface feels nothing.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import GraspPose, Hand, energies
from sceneleapultra.models.guidance.correction import Correction, check_settings, descend
from sceneleapultra.models.network.context import AnchoredScene
from sceneleapultra.models.network.tokens import Cloud

if TYPE_CHECKING:
    from sceneleapultra.models.generator import GraspGenerator

ENERGIES = ("penetration", "obstacles", "table", "self_penetration", "joint_limits", "attraction")  # weighted
_TABLE_QUANTILE = 0.1  # of the heights of points beside the target
_FAR = 1.0e3
_SPHERES_APART = 4  # of the hand's spheres, neighbors overlap: every so many rank points well enough


@dataclass(frozen=True)
class SceneGeometry:
    """What is seen of a scene, as the hand's distance to it is measured."""

    points: Float[Tensor, "b 1 n 3"]
    target: Bool[Tensor, "b 1 n"]
    other: Bool[Tensor, "b 1 n"]  # valid and not of the target
    up: Float[Tensor, "b 3"]
    table: Float[Tensor, "b"]  # height of the table's top along ``up``; far below where none is seen

    @classmethod
    def of(cls, cloud: Cloud, scanned: int, thickness_m: tuple[float, ...]) -> "SceneGeometry":
        """Read a prefix of a cloud, a fair sample of it; the table is the low end of what is not the target."""
        cloud = replace(
            cloud,
            points=cloud.points[:, :scanned],
            valid=cloud.valid[:, :scanned],
            target=cloud.target[:, :scanned],
        )
        target, other = cloud.target & cloud.valid, cloud.valid & ~cloud.target
        height = (cloud.points * cloud.up[:, None]).sum(-1)
        ordered = height.masked_fill(~other, _FAR).sort(-1).values
        place = (other.sum(-1, keepdim=True) * _TABLE_QUANTILE).long()
        table = ordered.gather(-1, place).squeeze(-1)
        ray = torch.nn.functional.normalize(cloud.points - cloud.viewpoint[:, None], dim=-1)
        behind = [cloud.points + depth * ray for depth in thickness_m]
        return cls(
            points=torch.cat([cloud.points, *behind], dim=1)[:, None],
            target=target.repeat(1, 1 + len(thickness_m))[:, None],
            other=torch.cat([other, *[torch.zeros_like(other)] * len(thickness_m)], dim=1)[:, None],
            up=cloud.up,
            table=torch.where(other.any(-1), table, -_FAR),
        )


@dataclass(frozen=True)
class NearestPoints:
    """The observed points that matter to each grasp; far away where there are fewer."""

    target: Float[Tensor, "b g m 3"]
    other: Float[Tensor, "b g m 3"]


@dataclass(frozen=True)
class GraspStages:
    """A predicted grasp at its two stages, with the joints as predicted, before they are clamped to their limits."""

    grasp: GraspPose
    pregrasp: GraspPose
    joints: Float[Tensor, "b g j"]


@dataclass(frozen=True, kw_only=True)
class PhysicsGuidance:
    """Extent and weights, as ``config/sampling/guidance/physics.yaml`` explains them."""

    below_t: float
    iterations: int
    rate: float
    max_step: float
    scanned: int
    num_points: int
    thickness_m: tuple[float, ...]
    margin_m: float
    penetration: float
    obstacles: float
    table: float
    self_penetration: float
    joint_limits: float
    attraction: float
    attraction_m: float

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        check_settings(
            "physics",
            self,
            at_least_one=("iterations", "scanned", "num_points"),
            positive=("rate", "max_step"),
            not_negative=(*ENERGIES, "margin_m", "attraction_m"),
        )

    def nearest(self, hand: Hand, pose: GraspPose, geometry: SceneGeometry) -> NearestPoints:
        """Choose, for each grasp, the points deepest in the hand's spheres or nearest to them."""
        centers, radii = hand.spheres(pose)
        centers, radii = centers[..., ::_SPHERES_APART, :], radii[::_SPHERES_APART]
        # |p - c|^2 - r^2 as one product with (p, 1), its |p|^2 added behind the minimum over the spheres.
        power = centers.square().sum(-1) - radii.square()
        sphere = torch.cat([-2.0 * centers, power[..., None]], dim=-1).transpose(-1, -2)
        point = torch.nn.functional.pad(geometry.points, (0, 1), value=1.0)
        depth = (point @ sphere).amin(-1) + geometry.points.square().sum(-1)
        return NearestPoints(
            target=self._chosen(depth, geometry, geometry.target),
            other=self._chosen(depth, geometry, geometry.other),
        )

    def _chosen(
        self, depth: Float[Tensor, "b g n"], geometry: SceneGeometry, among: Bool[Tensor, "b 1 n"]
    ) -> Float[Tensor, "b g m 3"]:
        count = min(self.num_points, depth.shape[-1])
        best = depth.masked_fill(~among, _FAR).topk(count, largest=False)
        points = geometry.points.expand(-1, depth.shape[1], -1, -1)
        chosen = points.gather(2, best.indices[..., None].expand(*best.indices.shape, 3))
        return torch.where((best.values < 0.5 * _FAR)[..., None], chosen, _FAR)

    def energy(
        self, hand: Hand, stages: GraspStages, near: NearestPoints, geometry: SceneGeometry
    ) -> Float[Tensor, "b g"]:
        """Return the weighted energy of each grasp (m)."""
        points = near.target if self.obstacles == 0.0 else torch.cat([near.target, near.other], dim=-2)
        count = near.target.shape[-2]
        distance = hand.signed_distance(points, stages.grasp)
        total = self.penetration * energies.penetration(distance[..., :count])
        if self.obstacles > 0.0:
            total = total + self.obstacles * energies.penetration(distance[..., count:] - self.margin_m)
        for stage in (stages.grasp, stages.pregrasp) if self.table > 0.0 else ():
            centers, radii = hand.spheres(stage)
            height = (centers * geometry.up[:, None, None]).sum(-1, keepdim=True) - geometry.table[
                :, None, None, None
            ]
            total = total + self.table * energies.table(
                height.expand_as(centers), radii, height_m=self.margin_m
            )
        if self.self_penetration > 0.0:
            total = total + self.self_penetration * energies.self_penetration(
                hand.keypoints(stages.grasp), hand.keypoint_radius, hand.keypoint_pairs
            )
        if self.joint_limits > 0.0:
            total = total + self.joint_limits * energies.joint_limits(stages.joints, hand.joint_limits)
        if self.attraction > 0.0:
            total = total + self.attraction * self._fingers_apart(hand, stages.grasp, near)
        return total

    def _fingers_apart(self, hand: Hand, pose: GraspPose, near: NearestPoints) -> Float[Tensor, "b g"]:
        """Sum up the distances of fingertips that nearly touch the target (m)."""
        pads, _ = hand.contact_candidates(pose)
        squared = (pads[:, :, :, None] - near.target[:, :, None]).square().sum(-1).amin(-1)
        finger = hand.contact_finger == torch.arange(len(hand.finger_names), device=pads.device)[:, None]
        apart = squared[:, :, None].masked_fill(~finger, _FAR).amin(-1).clamp_min(1e-12).sqrt()
        return (apart * (apart < self.attraction_m)).sum(-1)


class BoundPhysics(Correction):
    """Physics for the grasps of a batch: predicted x0 in, corrected x0 out."""

    def __init__(
        self,
        physics: PhysicsGuidance,
        generator: "GraspGenerator",
        anchored: AnchoredScene,
        cloud: Cloud,
        opening: Float[Tensor, "j"],
    ) -> None:
        self.settings, self.generator, self.anchored, self.opening = physics, generator, anchored, opening
        self.below_t = physics.below_t
        self.geometry = SceneGeometry.of(cloud, physics.scanned, physics.thickness_m)

    def __call__(self, x0: Float[Tensor, "b g d"]) -> Float[Tensor, "b g d"]:
        """Push the energy of each grasp down."""
        hand, settings = self.generator.hand, self.settings
        near = settings.nearest(hand, self._stages(x0).grasp, self.geometry)
        return descend(
            x0,
            lambda x: settings.energy(hand, self._stages(x), near, self.geometry),
            iterations=settings.iterations,
            rate=settings.rate,
            max_step=settings.max_step,
        )

    def _stages(self, x0: Float[Tensor, "b g d"]) -> GraspStages:
        generator = self.generator
        low, high = generator.codec.joint_limits.unbind(-1)
        pose, _ = generator.grasps(x0, self.anchored)
        pregrasp = GraspPose(pose.translation, pose.rotation, (pose.qpos - self.opening).clamp(low, high))
        joints = generator.codec.layout.split(generator.normalizer.denormalize(x0))["joints"]
        return GraspStages(pose, pregrasp, joints)
