"""A training step whose prediction is given: what terms measure of it is known exactly."""

from dataclasses import replace
from functools import cache, cached_property
from types import SimpleNamespace

import torch

from factories.models import scene_batch, small_generator
from sceneleapultra.hands import GraspPose
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import SceneContext
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.objectives.context import AnchorAssignment, PredictionContext
from sceneleapultra.models.objectives.matching import Index, Matching
from sceneleapultra.utils.batch import GraspBatch


@cache
def generator() -> GraspGenerator:
    return small_generator()


@cache
def encoded(num_scenes: int) -> SceneContext:
    """Scenes whose tokens carry the grasps; which scenes does not matter to what terms measure."""
    with torch.no_grad():
        return generator().encode(Cloud.of(far_scenes(num_scenes, 1)))


@cache
def far_scenes(num_scenes: int, num_grasps: int) -> GraspBatch:
    """Targets half a metre away from the origin."""
    batch = scene_batch(num_scenes=num_scenes, num_grasps=num_grasps)
    return replace(batch, scene_pc=batch.scene_pc + torch.tensor([0.5, 0.0, 0.3]))


class GivenPrediction(PredictionContext):
    """Predicts what it is given, as any network's output would say it."""

    def __init__(self, batch: GraspBatch, predicted: GraspPose, *, matching: Matching | None = None) -> None:
        g = predicted.qpos.shape[1]
        settings = SimpleNamespace(
            anchors=AnchorAssignment(softness=0.01, reach=10.0),
            matching=matching or Index(),
            num_grasps=g,
            seed=0,
        )
        super().__init__(generator(), batch, settings, step=0, training=True)
        self.predicted = predicted
        self.t, self.snr = torch.full((batch.size,), 0.25), torch.full((batch.size,), 9.0)

    @cached_property
    def scene(self) -> SceneContext:
        return encoded(self.batch.size)

    @cached_property
    def x0_hat(self) -> torch.Tensor:
        with torch.no_grad():
            states = self.generator.states(
                self.predicted, self.predicted.qpos, self.scene.tokens, self.positive_index
            )
            return self.generator.normalizer.normalize(states).requires_grad_(True)


def open_hands(hand, num_scenes: int = 1, num_grasps: int = 1) -> GraspPose:
    """Hands at rest at the origin."""
    shape = (num_scenes, num_grasps)
    return GraspPose(
        torch.zeros(*shape, 3), torch.eye(3).expand(*shape, 3, 3), hand.rest_qpos.expand(*shape, -1).clone()
    )


def scene_with(points: torch.Tensor, target: torch.Tensor, true: GraspPose) -> GraspBatch:
    """A scene of these first points (n 3), of which some are the target's, before a target half a metre away."""
    b, g = true.qpos.shape[:2]
    far, n = far_scenes(b, g), len(points)
    scene_pc = far.scene_pc.clone()
    scene_pc[:, :n] = points
    object_mask = torch.ones_like(far.object_mask)
    object_mask[:, :n] = target
    return replace(
        far,
        scene_pc=scene_pc,
        object_mask=object_mask,
        hand_pose=true.to_hand_pose(),
        pregrasp_qpos=true.qpos,
        squeeze_qpos=true.qpos,
    )
