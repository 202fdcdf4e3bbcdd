"""What every scorer keeps to: finished grasps on an encoded scene in, two log-odds per grasp out.

Success has two parts that fail for different reasons and are learned apart: the grasp holds the object, and the hand
is clear of table and neighbors.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose
from sceneleapultra.models.denoiser import Anchored, Denoiser, SceneContext


@dataclass(frozen=True)
class FinishedGrasps:
    """Grasps that ask for a score, in the frame of the cloud."""

    states: Float[Tensor, "b g d"]  # the same grasps as the network knows them, normalized
    pose: GraspPose
    squeeze_qpos: Float[Tensor, "b g j"]
    point: Float[Tensor, "b g 3"]  # reference point in front of each palm
    index: Int[Tensor, "b g"]  # token that each grasp is anchored at


class GraspScorer(nn.Module, ABC):
    """Gives each grasp the log-odds of holding and of being clear; its gradients stay out of the generator.

    Attributes:
        keep: share of the surface points that a training step shows the scorer.
    """

    keep: float = 1.0

    @abstractmethod
    def forward(
        self, grasps: FinishedGrasps, scene: SceneContext, kept: Bool[Tensor, "b s"] | None = None
    ) -> Float[Tensor, "b g 2"]:
        """Return log-odds of holding and of being clear of the scene.

        Args:
            grasps: what is scored.
            scene: what they stand in.
            kept: surface points that are shown; None for all.
        """


@dataclass(frozen=True, kw_only=True)
class ScorerConfig(ABC):
    """A scorer's sizes, as ``config/model/scorer`` names them."""

    at_least_one: ClassVar[tuple[str, ...]]
    contact_scale: float

    def __post_init__(self) -> None:
        """Refuse sizes that no scorer can have."""
        for key in self.at_least_one:
            value = getattr(self, key)
            if min(value) < 1 if isinstance(value, tuple) else value < 1:
                raise ValueError(f"model.scorer.{key}: expected at least 1, got {value}.")
        if not self.contact_scale > 0.0:
            raise ValueError(f"model.scorer.contact_scale must be positive, got {self.contact_scale}.")

    @abstractmethod
    def build(self, denoiser: Denoiser) -> GraspScorer:
        """Make the scorer beside a generator, whose hand, tokens and codec it knows but does not own."""


def finished(denoiser: Denoiser, states: Float[Tensor, "b g d"], anchored: Anchored) -> FinishedGrasps:
    """Return what clean normalized states stand for."""
    pose, squeeze = denoiser.grasps(states, anchored)
    return FinishedGrasps(states, pose, squeeze, denoiser.codec.reference_point(pose), anchored.index)


def success_log_odds(parts: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """Return the log-odds that a grasp both holds and is clear, the two taken as independent."""
    log_p = nn.functional.logsigmoid(parts).sum(-1).clamp(max=-1e-6)
    return log_p - torch.log(-torch.expm1(log_p))
