"""How the laws of contact steer sampling: energies of the predicted grasp, pushed down on the last steps.

A few of Polyak's steps per evaluation (:mod:`models.guidance.correction`), for every grasp by itself. The gradient is
that of the hand's geometry alone: it stops at the predicted x0 and never enters the network, so a step costs kinematics
and the distances of a few points, not a backward pass of the network as in DexGrasp Anything (Zhong et al. 2025). The
next denoising step sees the corrected sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import GraspPose, Hand, energies
from sceneleapultra.models.guidance.correction import Correction, check_settings, descend
from sceneleapultra.models.network.context import AnchoredScene
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.observed_points import (
    ObservedPoints,
    deepest,
    observed_table_height,
    sphere_power,
)
from sceneleapultra.utils.geometry.voxels.field import OTHERS, TARGET, SceneField, field_distances

if TYPE_CHECKING:
    from sceneleapultra.models.generator import GraspGenerator


@dataclass(frozen=True)
class SceneGeometry:
    """What is seen of a scene, as the hand's distance to it is measured."""

    observed: ObservedPoints
    up: Float[Tensor, "b 3"]
    table: Float[Tensor, "b"]  # height of the table's top along ``up``; far below where none is seen
    fields: Sequence[SceneField] | None = None  # completed scenes, which are then taken for solid

    @classmethod
    def of(
        cls,
        cloud: Cloud,
        scanned: int,
        thickness_m: tuple[float, ...],
        fields: Sequence[SceneField] | None = None,
    ) -> "SceneGeometry":
        """Read a prefix of a cloud, a fair sample of it."""
        observed = ObservedPoints.of(cloud, scanned, thickness_m)
        return cls(observed, cloud.up, observed_table_height(cloud, scanned), fields)


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
class EnergyWeights:
    """Weight of each energy; one of 0 is not computed."""

    penetration: float
    obstacles: float
    table: float
    self_penetration: float
    joint_limits: float
    attraction: float

    def __post_init__(self) -> None:
        """Refuse negative weights."""
        for name, weight in vars(self).items():
            if not weight >= 0.0:
                raise ValueError(f"guidance.physics.weights.{name}: expected at least 0, got {weight}.")


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
    attraction_m: float
    weights: EnergyWeights

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        check_settings(
            "physics",
            self,
            at_least_one=("iterations", "scanned", "num_points"),
            positive=("rate", "max_step"),
            not_negative=("margin_m", "attraction_m"),
        )

    def nearest(self, hand: Hand, pose: GraspPose, geometry: SceneGeometry) -> NearestPoints:
        """Choose, for each grasp, the points deepest in the hand's spheres or nearest to them."""
        observed = geometry.observed
        power = sphere_power(*hand.spheres(pose), observed.points)
        return NearestPoints(
            target=deepest(power, observed.points, observed.target, self.num_points),
            other=deepest(power, observed.points, observed.other, self.num_points),
        )

    def energy(
        self, hand: Hand, stages: GraspStages, near: NearestPoints, geometry: SceneGeometry
    ) -> Float[Tensor, "b g"]:
        """Return the weighted energy of each grasp (m)."""
        if geometry.fields is not None:
            total = self._inside_solid(hand, stages.grasp, geometry.fields)
        else:
            total = self._inside_points(hand, stages.grasp, near)
        weights = self.weights
        for stage in (stages.grasp, stages.pregrasp) if weights.table > 0.0 else ():
            centers, radii = hand.spheres(stage)
            height = (centers * geometry.up[:, None, None]).sum(-1, keepdim=True) - geometry.table[
                :, None, None, None
            ]
            total = total + weights.table * energies.table(
                height.expand_as(centers), radii, height_m=self.margin_m
            )
        if weights.self_penetration > 0.0:
            total = total + weights.self_penetration * energies.self_penetration(
                hand.keypoints(stages.grasp), hand.keypoint_radius, hand.keypoint_pairs
            )
        if weights.joint_limits > 0.0:
            total = total + weights.joint_limits * energies.joint_limits(stages.joints, hand.joint_limits)
        if weights.attraction > 0.0:
            total = total + weights.attraction * energies.attraction(
                hand.contact_candidates(stages.grasp)[0],
                hand.contact_finger,
                near.target,
                num_fingers=len(hand.finger_names),
                within_m=self.attraction_m,
            )
        return total

    def _inside_points(self, hand: Hand, pose: GraspPose, near: NearestPoints) -> Float[Tensor, "b g"]:
        """Return the energy of observed points inside of the hand, or too near to it."""
        weights = self.weights
        points = near.target if weights.obstacles == 0.0 else torch.cat([near.target, near.other], dim=-2)
        count = near.target.shape[-2]
        distance = hand.signed_distance(points, pose)
        total = weights.penetration * energies.penetration(distance[..., :count])
        if weights.obstacles > 0.0:
            total = total + weights.obstacles * energies.penetration(distance[..., count:] - self.margin_m)
        return total

    def _inside_solid(
        self, hand: Hand, pose: GraspPose, fields: Sequence[SceneField]
    ) -> Float[Tensor, "b g"]:
        """Return the energy of the hand's spheres inside of what a completed scene takes for solid, or too near."""
        centers, radii = hand.spheres(pose)
        gap = field_distances(fields, centers) - radii[:, None]
        total = self.weights.penetration * energies.penetration(gap[..., TARGET])
        return total + self.weights.obstacles * energies.penetration(gap[..., OTHERS] - self.margin_m)


class BoundPhysics(Correction):
    """Physics for the grasps of a batch: predicted x0 in, corrected x0 out."""

    def __init__(
        self,
        physics: PhysicsGuidance,
        generator: "GraspGenerator",
        anchored: AnchoredScene,
        cloud: Cloud,
        opening: Float[Tensor, "j"],
        fields: Sequence[SceneField] | None = None,
    ) -> None:
        self.settings, self.generator, self.anchored, self.opening = physics, generator, anchored, opening
        self.below_t = physics.below_t
        self.geometry = SceneGeometry.of(cloud, physics.scanned, physics.thickness_m, fields)

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
        joints = generator.codec.layout.split(generator.metric(x0))["joints"]
        return GraspStages(pose, pregrasp, joints)
