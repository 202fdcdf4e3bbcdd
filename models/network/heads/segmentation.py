"""What each token belongs to: the table, the target or another object."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.models.losses import masked_mean
from sceneleapultra.models.metrics import ClassPart, MetricPart
from sceneleapultra.models.network.heads.base import HeadInputs, HiddenHeadConfig, SceneHead
from sceneleapultra.models.network.tokens import SceneTokens
from sceneleapultra.utils.batch import OTHER_CLASS, TABLE_CLASS, TARGET_CLASS, UNKNOWN_CLASS, GraspBatch
from sceneleapultra.utils.geometry.points import knn

if TYPE_CHECKING:
    from sceneleapultra.models.objectives.context import StepContext

_NAMES = {TABLE_CLASS: "table", TARGET_CLASS: "target", OTHER_CLASS: "other"}


class SegmentationHead(SceneHead):
    """Gives each token the logits of table, target and other object; its gradients train the encoder, too.

    Which points are the target's is an input of the encoder: what is learned is to tell other objects from the table.

    Args:
        inputs: width of the tokens.
        config: sizes.
    """

    labels = ("point_class",)

    def __init__(self, inputs: HeadInputs, config: "SegmentationHeadConfig") -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(inputs.dim_token, config.dim), nn.GELU(), nn.Linear(config.dim, len(_NAMES))
        )

    def forward(self, tokens: SceneTokens) -> Float[Tensor, "b s c"]:
        """Return logits in the order of the values of ``point_class``."""
        return self.mlp(tokens.features).float()

    def loss(self, context: "StepContext") -> Float[Tensor, ""]:
        """Return the cross-entropy over the tokens whose class is known."""
        true = token_class(context.scene.tokens, context.batch)
        logits = context.output(self).transpose(1, 2)
        entropy = nn.functional.cross_entropy(logits, true, ignore_index=UNKNOWN_CLASS, reduction="none")
        return masked_mean(entropy, true != UNKNOWN_CLASS)

    def metrics(self, context: "StepContext") -> dict[str, MetricPart]:
        """Return which classes were predicted as which."""
        true = token_class(context.scene.tokens, context.batch)
        names = tuple(_NAMES[value] for value in sorted(_NAMES))
        return {"segmentation": ClassPart.of(context.output(self).argmax(-1), true, names)}


@torch.no_grad()
def token_class(tokens: SceneTokens, batch: GraspBatch) -> Int[Tensor, "b s"]:
    """Return the class of the point of the cloud nearest to each token; unknown where the token is padding."""
    assert batch.point_class is not None
    nearest, _ = knn(tokens.xyz.float(), batch.scene_pc.float(), 1, batch.point_valid)
    found = batch.point_class.long().gather(1, nearest.squeeze(-1))
    return found.masked_fill(~tokens.valid, UNKNOWN_CLASS)


@dataclass(frozen=True, kw_only=True)
class SegmentationHeadConfig(HiddenHeadConfig):
    """Settings of a :class:`SegmentationHead`."""

    head = "segmentation"

    def build(self, inputs: HeadInputs) -> SegmentationHead:
        """Make the head."""
        return SegmentationHead(inputs, self)
