"""Where grasps touch the target: the probability, per token, that a successful grasp has a link there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.models.losses import masked_mean
from sceneleapultra.models.metrics import BinaryPart, MetricPart
from sceneleapultra.models.network.heads.base import HeadConfig, HeadInputs, SceneHead, require_at_least_one
from sceneleapultra.models.network.tokens import SceneTokens
from sceneleapultra.utils.core.precision import full_precision

if TYPE_CHECKING:
    from sceneleapultra.models.objectives.context import StepContext


def touches(
    hand: Hand, points: Float[Tensor, "b s 3"], pose: GraspPose, touch_m: float
) -> Bool[Tensor, "b g s"]:
    """Return which points lie within ``touch_m`` of any link, or inside it, for grasps in their frame."""
    grasps = pose.translation.shape[1]
    with torch.no_grad(), full_precision(points.device.type):  # millimetres
        placed = points.float()[:, None].expand(-1, grasps, -1, -1)
        return hand.link_distances(placed, pose).amin(-2) <= touch_m


class ContactHead(SceneHead):
    """Gives each token of the target the log-odds that a successful grasp of the target touches it.

    Its gradients train the encoder, too.

    Args:
        inputs: hand and width of the tokens; it does not own the hand.
        config: sizes and what counts as a touch.
    """

    labels = ("hand_pose", "grasp_valid", "grasp_success")

    def __init__(self, inputs: HeadInputs, config: "ContactHeadConfig") -> None:
        super().__init__()
        self.hand, self.touch_m = inputs.hand, config.touch_m
        self.mlp = nn.Sequential(nn.Linear(inputs.dim_token, config.dim), nn.GELU(), nn.Linear(config.dim, 1))

    def forward(self, tokens: SceneTokens) -> Float[Tensor, "b s"]:
        """Return logits; minus infinity outside the target."""
        logits = self.mlp(tokens.features).squeeze(-1).float()
        return logits.masked_fill(~tokens.target, float("-inf"))

    def counts(self, context: "StepContext") -> tuple[Float[Tensor, "b s"], Float[Tensor, "b s"]]:
        """Return how many of the successful grasps touch each token and how many do not; both 0 off the target."""
        tokens, positive, pose = context.scene.tokens, context.positive, context.batch.hand_pose
        assert pose is not None
        first = GraspPose.from_hand_pose(pose[:, : context.num_grasps])
        touched = touches(self.hand, tokens.xyz, first, self.touch_m)
        counted = positive[..., None] & tokens.target[:, None]
        return (touched & counted).sum(1).float(), (~touched & counted).sum(1).float()

    def loss(self, context: "StepContext") -> Float[Tensor, ""]:
        """Return the binary cross-entropy with the share of the successful grasps that touch each token."""
        touched, missed = self.counts(context)
        known = touched + missed > 0
        logits = context.output(self).masked_fill(~known, 0.0)
        share = touched / (touched + missed).clamp(min=1.0)
        bce = nn.functional.binary_cross_entropy_with_logits(logits, share, reduction="none")
        return masked_mean(bce, known)

    def metrics(self, context: "StepContext") -> dict[str, MetricPart]:
        """Return the pairs of a token and a grasp as events: does the grasp touch the token?"""
        return {"contact": BinaryPart.of(context.output(self), *self.counts(context))}


@dataclass(frozen=True, kw_only=True)
class ContactHeadConfig(HeadConfig):
    """Settings of a :class:`ContactHead`.

    Args:
        dim: width of its hidden layer.
        touch_m: largest distance of a token to a link that touches it (m).
    """

    dim: int
    touch_m: float

    def __post_init__(self) -> None:
        """Refuse sizes that no head can have."""
        require_at_least_one("model.generator.heads.contact", self, ("dim",))
        if not self.touch_m > 0.0:
            raise ValueError(f"model.generator.heads.contact.touch_m must be positive, got {self.touch_m}.")

    def build(self, inputs: HeadInputs) -> ContactHead:
        """Make the head."""
        return ContactHead(inputs, self)
