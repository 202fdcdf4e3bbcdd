"""What the terms of a loss read: everything about one training step, each computed once, when first read."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.hands import GraspPose, PlacedHand
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.grasp_space import GraspSpace
from sceneleapultra.models.network.context import AnchoredScene, DecodedGrasps, SceneContext
from sceneleapultra.models.network.heads.base import GraspHead, Head
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.models.objectives.matching import Match, Matching
from sceneleapultra.models.objectives.noise import StepNoise, draw_step_noise
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.precision import full_precision


@dataclass(frozen=True, kw_only=True)
class AnchorAssignment:
    """How true grasps are assigned to visible tokens of the target, as ``config/model/objective`` explains it.

    Attributes:
        softness: standard deviation of the choice among tokens near a grasp (m).
        reach: grasps further than this from every visible target token are not trained on (m).
    """

    softness: float
    reach: float

    def __post_init__(self) -> None:
        """Refuse distances that are none."""
        if not (self.softness > 0.0 and self.reach > 0.0):
            raise ValueError(
                f"model.objective.anchors: expected positive softness and reach, got {self.softness} and {self.reach}."
            )

    def __call__(
        self, tokens: SceneTokens, point: Float[Tensor, "b a 3"], gumbel: Float[Tensor, "b a s"]
    ) -> tuple[Int[Tensor, "b a"], Bool[Tensor, "b a"]]:
        """Choose a visible target token near each grasp's reference point, and say whether one is within reach."""
        squared = (point[:, :, None] - tokens.xyz[:, None]).square().sum(-1)
        squared = squared.masked_fill(~tokens.target[:, None], float("inf"))
        index = (gumbel - squared / (2 * self.softness**2)).argmax(-1)
        return index, squared.amin(-1) <= self.reach**2


class StepInputs:
    """What every step is given.

    Args:
        generator: what is trained.
        batch: of scenes.
        objective: whose settings apply.
        step: of training; with the objective's seed and the item it decides every random number.
        training: false in validation.
    """

    def __init__(
        self, generator: Any, batch: GraspBatch, objective: Any, *, step: int, training: bool
    ) -> None:
        self.generator, self.batch, self.objective = generator, batch, objective
        self.step, self.training = step, training

    @cached_property
    def cloud(self) -> Cloud:
        """The clouds as the batch holds them."""
        return Cloud.of(self.batch)


class StepContext(StepInputs):
    """One training step: batch, random numbers, encoded scene, anchors and states of the true grasps.

    Args:
        generator: what is trained.
        batch: with grasps: the successful ones that may be trained on first, then failures.
        objective: whose settings apply.
        step: of training; with the objective's seed and the item it decides every random number.
        training: false in validation.

    Raises:
        ValueError: a batch without grasps, or without a prompt that the model reads.
    """

    generator: GraspGenerator

    def __init__(
        self, generator: GraspSpace, batch: GraspBatch, objective: Any, *, step: int, training: bool
    ) -> None:
        for name in ("hand_pose", "squeeze_qpos", "grasp_valid", "grasp_success"):
            if getattr(batch, name) is None:
                raise ValueError(
                    f"Training needs batches with grasps; this one has no {name}. Is it an inference batch?"
                )
        super().__init__(generator, batch, objective, step=step, training=training)
        self._outputs: dict[Head, Tensor] = {}

    @property
    def num_grasps(self) -> int:
        """How many grasps of each scene come first."""
        return self.objective.num_grasps

    @cached_property
    def noise(self) -> StepNoise:
        """The random numbers of the step."""
        return draw_step_noise(
            self.generator,
            self.batch,
            num_grasps=self.num_grasps,
            seed=self.objective.seed,
            step=self.step,
        )

    @cached_property
    def scene(self) -> SceneContext:
        """The encoded clouds, some without their colors, with their prompts."""
        scene = self.generator.encode(self.cloud, self.noise.dropped.get("color"))
        if not self.generator.conditioning.conditions:
            return scene
        return self.generator.conditioning.encode_prompts(scene, self.prompts())

    @property
    def tokens(self) -> SceneTokens:
        """Tokens of the clouds, among which anchors are chosen."""
        return self.scene.tokens

    def prompts(self) -> dict[str, tuple[str | None, ...]]:
        """Return the prompts of the batch, by condition."""
        conditions = self.generator.conditioning.conditions
        texts = {name: getattr(self.batch, condition.reads) for name, condition in conditions.items()}
        for name, row in texts.items():
            if len(row) != self.batch.size:
                raise ValueError(
                    f"model.generator.conditions.{name} reads {conditions[name].reads} of {self.batch.size} scenes, "
                    f"the batch has {len(row)}. Pass data.prompt=category, or model/generator/conditions=none."
                )
        return texts

    # True grasps: those that may be trained on, then failures (axis a); of them the first g (axis g).

    @cached_property
    def pose(self) -> GraspPose:
        """True grasps (b a)."""
        assert self.batch.hand_pose is not None
        return GraspPose.from_hand_pose(self.batch.hand_pose)

    @cached_property
    def squeeze_qpos(self) -> Float[Tensor, "b a j"]:
        """Squeeze joints of the true grasps."""
        assert self.batch.squeeze_qpos is not None
        return self.batch.squeeze_qpos

    @cached_property
    def _assignment(self) -> tuple[Int[Tensor, "b a"], Bool[Tensor, "b a"]]:
        point = self.generator.codec.reference_point(self.pose).float()
        return self.objective.anchors(self.tokens, point, self.noise.gumbel)

    @cached_property
    def index(self) -> Int[Tensor, "b a"]:
        """Token that each true grasp is anchored at."""
        return self._assignment[0]

    @cached_property
    def valid(self) -> Bool[Tensor, "b a"]:
        """Grasps that exist and are within reach of an anchor."""
        assert self.batch.grasp_valid is not None
        return self.batch.grasp_valid & self._assignment[1]

    @cached_property
    def grasps(self) -> DecodedGrasps:
        """True grasps with their states."""
        return self.generator.anchored_grasps(self.pose, self.squeeze_qpos, self.tokens, self.index)

    @cached_property
    def positive(self) -> Bool[Tensor, "b g"]:
        """Which of the first grasps are generated: valid and successful."""
        assert self.batch.grasp_success is not None
        return (self.valid & self.batch.grasp_success)[:, : self.num_grasps]

    @cached_property
    def positive_index(self) -> Int[Tensor, "b g"]:
        """Token that each of the first grasps is anchored at."""
        return self.index[:, : self.num_grasps]

    @cached_property
    def positive_pose(self) -> GraspPose:
        """The first grasps, in the frame of the cloud."""
        pose, g = self.pose, self.num_grasps
        return GraspPose(pose.translation[:, :g], pose.rotation[:, :g], pose.qpos[:, :g])

    @cached_property
    def set_id(self) -> Int[Tensor, "b g"]:
        """Number of the set that each of the first grasps is in; -1 for those that are not generated.

        Sets of every size are trained: the grasps before and behind a random place do not attend to each other.
        """
        place = torch.arange(self.num_grasps, device=self.index.device)
        return (place >= self.noise.split[:, None]).long().masked_fill(~self.positive, -1)

    @cached_property
    def x0(self) -> Float[Tensor, "b g d"]:
        """Clean states of the first grasps."""
        return self.grasps.clean[:, : self.num_grasps]

    @cached_property
    def anchored(self) -> AnchoredScene:
        """The scenes, some without conditions, as the anchors of the first grasps see them."""
        scene = self.generator.conditioning.drop(self.scene, self.noise.dropped, self.generator.decoder)
        return self.generator.anchor(scene, self.positive_index, self.set_id)

    def output(self, head: Head) -> Tensor:
        """Return what a head of the generator predicts: of the scene's tokens, or of the true grasps."""
        if head not in self._outputs:
            if isinstance(head, GraspHead):
                self._outputs[head] = head(self.grasps, self.scene, self.surface_kept(head.keep))
            else:
                name = next(name for name, other in self.generator.heads.items() if other is head)
                self._outputs[head] = self.scene.outputs[name]
        return self._outputs[head]

    def surface_kept(self, keep: float) -> Bool[Tensor, "b p"] | None:
        """Return which surface points a head is shown in this step; None for all."""
        return self.noise.surface < keep if self.training and keep < 1.0 else None


class PredictionContext(StepContext, ABC):
    """A step that predicts clean states of the first grasps, whatever from.

    Attributes:
        matching: how predicted and true grasps are paired.
    """

    @property
    @abstractmethod
    def x0_hat(self) -> Float[Tensor, "b g d"]:
        """Predicted clean states, normalized."""

    # Which true grasp each predicted one is compared with.

    @cached_property
    def match(self) -> Match | None:
        """Pairs of predicted and true grasps of one set; None where each keeps the grasp that it was noised from."""
        return self.matching(lambda: self.grasps_hat.pose, self.positive_pose, self.set_id)

    @cached_property
    def counted(self) -> Bool[Tensor, "b g"]:
        """Which predicted grasps are compared with a true one."""
        return self.positive if self.match is None else self.match.matched

    @cached_property
    def target_pose(self) -> GraspPose:
        """True grasp that each predicted one is compared with, in the frame of the cloud."""
        pose, match = self.positive_pose, self.match
        if match is None:
            return pose
        return GraspPose(*map(match.of_targets, (pose.translation, pose.rotation, pose.qpos)))

    @property
    def matching(self) -> Matching:
        """How predicted and true grasps are paired."""
        return self.objective.matching

    @cached_property
    def target_x0(self) -> Float[Tensor, "b g d"]:
        """Clean states that are to be predicted, normalized, seen from the anchors of the predicted grasps."""
        if self.match is None:
            return self.x0
        squeeze = self.match.of_targets(self.squeeze_qpos[:, : self.num_grasps])
        states = self.generator.states(self.target_pose, squeeze, self.tokens, self.positive_index)
        return self.generator.clean(states)

    @property
    def sample_weight(self) -> Float[Tensor, "b"]:
        """How much each scene's error counts."""
        return torch.ones_like(self.noise.t)

    @cached_property
    def state_error(self) -> dict[str, Tensor]:
        """Weighted squared error of the clean states, by pose group (b g n)."""
        error = self.sample_weight[:, None, None] * (self.x0_hat - self.target_x0).square()
        return self.generator.groups(error)

    @cached_property
    def grasps_hat(self) -> DecodedGrasps:
        """Grasps that the predicted states stand for, in the frame of the cloud; joints are clamped to their limits."""
        return self.generator.decode(self.x0_hat, self.anchored)

    @cached_property
    def joints_hat(self) -> Float[Tensor, "b g j"]:
        """Joints as predicted, before they are clamped to their limits (rad)."""
        return self.generator.codec.layout.split(self.generator.metric(self.x0_hat))["joints"]

    @cached_property
    def hand_hat(self) -> PlacedHand:
        """The hand at the predicted grasps."""
        return self._placed(self.grasps_hat.pose)

    @cached_property
    def hand_true(self) -> PlacedHand:
        """The hand at the true grasps that the predicted ones are compared with."""
        return self._placed(self.target_pose)

    def _placed(self, pose: GraspPose) -> PlacedHand:
        with full_precision(pose.translation.device.type):  # kinematics know no half precision
            return self.generator.hand.at(pose)
