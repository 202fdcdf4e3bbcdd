"""Which visible tokens of the target carry grasps: one logit per token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.losses import anchor_loss
from sceneleapultra.models.network.heads.base import HeadConfig, HeadInputs, SceneHead
from sceneleapultra.models.network.tokens import SceneTokens

if TYPE_CHECKING:
    from sceneleapultra.models.objectives.context import StepContext


class AnchorHead(SceneHead):
    """Gives each token of the target the unnormalized log-probability of carrying a grasp.

    Args:
        dim_token: width of the tokens.
    """

    labels = ("hand_pose", "grasp_success")

    def __init__(self, dim_token: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim_token, dim_token), nn.GELU(), nn.Linear(dim_token, 1))

    def forward(self, tokens: SceneTokens) -> Float[Tensor, "b s"]:
        """Return logits; minus infinity beside the target."""
        logits = self.mlp(tokens.features).squeeze(-1).float()
        return logits.masked_fill(~tokens.target, float("-inf"))

    def loss(self, context: "StepContext") -> Float[Tensor, ""]:
        """Return the negative log-likelihood of the tokens that carry the successful grasps."""
        return anchor_loss(context.scene.outputs["anchors"], context.positive_index, context.positive)


@dataclass(frozen=True, kw_only=True)
class AnchorHeadConfig(HeadConfig):
    """An :class:`AnchorHead`; it has no settings."""

    def build(self, inputs: HeadInputs) -> AnchorHead:
        """Make the head."""
        return AnchorHead(inputs.dim_token)
