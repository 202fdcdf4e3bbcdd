"""Which visible tokens of the target carry grasps: one logit per token, and what a prompt changes of it.

A prompt that asks for a part asks for the tokens there. Guidance acts on the logits as on x0 (Ho & Salimans 2022).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.losses import anchor_loss
from sceneleapultra.models.network.conditions.base import PromptTokens
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


class PromptedAnchorHead(SceneHead):
    """An :class:`AnchorHead`, and how far a prompt raises or lowers each of its logits.

    Args:
        dim_token: width of the scene's tokens.
        dim_prompt: width of a prompt's tokens.
    """

    labels = AnchorHead.labels

    def __init__(self, dim_token: int, dim_prompt: int) -> None:
        super().__init__()
        self.plain = AnchorHead(dim_token)
        self.mlp = nn.Sequential(
            nn.Linear(dim_token + dim_prompt, dim_token), nn.GELU(), nn.Linear(dim_token, 1)
        )

    def forward(self, tokens: SceneTokens) -> Float[Tensor, "b s"]:
        """Return logits without a prompt; minus infinity beside the target."""
        return self.plain(tokens)

    def shift(self, tokens: SceneTokens, prompt: PromptTokens, null: PromptTokens) -> Float[Tensor, "b s"]:
        """Return what a prompt adds to the logits: exactly 0 where it is ``null``, the prompt that says nothing."""
        return self._match(tokens, prompt) - self._match(tokens, null)

    def _match(self, tokens: SceneTokens, prompt: PromptTokens) -> Float[Tensor, "b s"]:
        weight = prompt.valid[..., None].to(prompt.tokens.dtype)
        mean = (prompt.tokens * weight).sum(1) / weight.sum(1)
        mean = mean[:, None].expand(-1, tokens.features.shape[1], -1)
        return self.mlp(torch.cat([tokens.features, mean], dim=-1)).squeeze(-1).float()

    def loss(self, context: "StepContext") -> Float[Tensor, ""]:
        """Return the negative log-likelihood of the tokens that carry successes, with and without prompt."""
        scene, conditioning = context.scene, context.generator.conditioning
        plain, prompt = scene.outputs["anchors"], conditioning.prompt(scene)
        assert prompt is not None
        shift = self.shift(scene.tokens, prompt, conditioning.null_prompt(scene))
        return anchor_loss(plain, context.positive_index, context.positive) + anchor_loss(
            plain.detach() + shift, context.positive_index, context.positive
        )


@dataclass(frozen=True, kw_only=True)
class PromptedAnchorHeadConfig(HeadConfig):
    """A :class:`PromptedAnchorHead`; it has no settings."""

    def build(self, inputs: HeadInputs) -> PromptedAnchorHead:
        """Make the head.

        Raises:
            ValueError: the model has no prompts.
        """
        if inputs.dim_prompt is None:
            raise ValueError(
                "model/generator/heads/anchors=prompted reads prompts, and this model has none. Pass "
                "model/generator/conditions=part data.prompt=part."
            )
        return PromptedAnchorHead(inputs.dim_token, inputs.dim_prompt)


@dataclass(frozen=True, kw_only=True)
class AnchorHeadConfig(HeadConfig):
    """An :class:`AnchorHead`; it has no settings."""

    def build(self, inputs: HeadInputs) -> AnchorHead:
        """Make the head."""
        return AnchorHead(inputs.dim_token)
