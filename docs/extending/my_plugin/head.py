"""A head: how robust a grasp is, learned from repetitions with a displaced hand."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sceneleapultra.models.losses import masked_mean
from sceneleapultra.models.network.context import DecodedGrasps, SceneContext
from sceneleapultra.models.network.heads.base import GraspHead, HeadConfig, HeadInputs
from sceneleapultra.models.objectives.context import StepContext
from sceneleapultra.utils.geometry.points import gather


class Robustness(GraspHead):
    """Log-odds that a repetition with a displaced hand holds."""

    labels = ("grasp_robustness",)
    outputs = ("robustness",)

    def __init__(self, inputs: HeadInputs, dim: int) -> None:
        super().__init__()
        width = inputs.codec.layout.dim + inputs.dim_token
        self.mlp = nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, 1))

    def forward(self, grasps: DecodedGrasps, scene: SceneContext, kept: Tensor | None = None) -> Tensor:
        """Return one logit per grasp."""
        anchor = gather(scene.tokens.features.detach(), grasps.index)
        return self.mlp(torch.cat([grasps.states, anchor], dim=-1))

    def loss(self, context: StepContext) -> Tensor:
        """Return the squared error where robustness was measured."""
        label = context.batch.grasp_robustness  # share of repetitions that held; NaN where not measured
        assert label is not None
        error = self(context.grasps, context.scene)[..., 0].sigmoid() - label.nan_to_num()
        return masked_mean(error.square(), context.valid & label.isfinite())


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig(HeadConfig):
    """Width of a :class:`Robustness`."""

    dim: int

    def build(self, inputs: HeadInputs) -> Robustness:
        """Make the head."""
        return Robustness(inputs, self.dim)
