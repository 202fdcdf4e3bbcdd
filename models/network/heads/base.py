"""What every head keeps to: a scene's tokens, or decoded grasps on a scene, in; logits out; and its own loss.

A head is trained beside the generator. What a *scene head* predicts of each token is computed once per scene and kept
in ``SceneContext.outputs``; a *grasp head* is asked for any number of grasps on a scene.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sceneleapultra.hands import Hand
from sceneleapultra.models.metrics import MetricPart
from sceneleapultra.models.network.context import DecodedGrasps, SceneContext
from sceneleapultra.models.network.tokens import SceneTokens
from sceneleapultra.models.representation import GraspCodec

if TYPE_CHECKING:
    from sceneleapultra.models.objectives.context import StepContext


@dataclass(frozen=True)
class HeadInputs:
    """What a head may be built upon; the head does not own it."""

    hand: Hand
    codec: GraspCodec
    dim_token: int  # width of the encoder's tokens
    dim_hand: int | None  # width of a hand's tokens; None for a model of one hand
    dim_prompt: int | None  # width of a prompt's tokens; None for a model without prompts


class Head(nn.Module, ABC):
    """A prediction trained beside the generator.

    Attributes:
        labels: fields of the training batch that its loss reads; a batch without them is refused by name.
    """

    labels: ClassVar[tuple[str, ...]]

    @abstractmethod
    def loss(self, context: "StepContext") -> Float[Tensor, ""]:
        """Return the loss on a training batch."""

    def metrics(self, context: "StepContext") -> dict[str, MetricPart]:
        """Return what a validation batch adds to figures of merit, by name; nothing unless the head has any."""
        return {}


class SceneHead(Head):
    """Predicts something of each token of a scene."""

    @abstractmethod
    def forward(self, tokens: SceneTokens) -> Tensor:
        """Return one row per token."""


class GraspHead(Head):
    """Predicts something of each grasp; its gradients stay out of the generator.

    Attributes:
        outputs: names of the columns of its output.
        keep: share of the surface points that a training step shows it.
    """

    outputs: ClassVar[tuple[str, ...]]
    keep: float = 1.0

    @abstractmethod
    def forward(
        self, grasps: DecodedGrasps, scene: SceneContext, kept: Bool[Tensor, "b s"] | None = None
    ) -> Float[Tensor, "b g o"]:
        """Return logits of each grasp.

        Args:
            grasps: what is scored.
            scene: what they stand in.
            kept: surface points that are shown; None for all.
        """


@dataclass(frozen=True, kw_only=True)
class HeadConfig(ABC):
    """A head's settings, as ``config/model/generator/heads`` names them."""

    @abstractmethod
    def build(self, inputs: HeadInputs) -> Head:
        """Make the head."""


def require_at_least_one(key: str, config: object, names: tuple[str, ...]) -> None:
    """Refuse sizes below 1.

    Raises:
        ValueError: with the key.
    """
    for name in names:
        value = getattr(config, name)
        if min(value) < 1 if isinstance(value, tuple) else value < 1:
            raise ValueError(f"{key}.{name}: expected at least 1, got {value}.")


def success_log_odds(logits: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """Return the log-odds that a grasp is stable and collision-free, the two taken as independent."""
    log_p = nn.functional.logsigmoid(logits).sum(-1).clamp(max=-1e-6)
    return log_p - torch.log(-torch.expm1(log_p))


@dataclass(frozen=True, kw_only=True)
class HiddenHeadConfig(HeadConfig):
    """Settings of a head with one hidden layer.

    Args:
        dim: width of the hidden layer.
    """

    head: ClassVar[str]  # as config/model/generator/heads names it
    dim: int

    def __post_init__(self) -> None:
        """Refuse sizes that no head can have."""
        require_at_least_one(f"model.generator.heads.{self.head}", self, ("dim",))
