"""Where on the target grasps succeed: one chance per token, learned from grasps that failed, too.

The anchors' head learns where successful grasps are; of a place where most grasps fail it has seen the few that did
not. Source: Wang et al. 2021, "Graspness Discovery in Clutters", who take the share of successful grasps about a point.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sceneleapultra.models.losses import masked_mean
from sceneleapultra.models.metrics import BinaryPart, MetricPart
from sceneleapultra.models.network.heads.base import HeadInputs, HiddenHeadConfig, SceneHead
from sceneleapultra.models.network.tokens import SceneTokens

if TYPE_CHECKING:
    from sceneleapultra.models.objectives.context import StepContext


class GraspnessHead(SceneHead):
    """Gives each token the log-odds that a grasp anchored there succeeds.

    Args:
        inputs: width of the tokens.
        config: sizes.
    """

    labels = ("grasp_stable", "grasp_collision_free")

    def __init__(self, inputs: HeadInputs, config: "GraspnessHeadConfig") -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(inputs.dim_token, config.dim), nn.GELU(), nn.Linear(config.dim, 1))

    def forward(self, tokens: SceneTokens) -> Float[Tensor, "b s"]:
        """Return log-odds; what they say of other tokens than the target's was never learned."""
        return self.mlp(tokens.features).squeeze(-1).float()

    def loss(self, context: "StepContext") -> Float[Tensor, ""]:
        """Return the binary cross-entropy of the grasps whose success is known, each at its anchor."""
        logit, success, known = self._events(context)
        bce = nn.functional.binary_cross_entropy_with_logits(logit, success, reduction="none")
        return masked_mean(bce, known)

    def metrics(self, context: "StepContext") -> dict[str, MetricPart]:
        """Return the chance that each anchor was given, and what became of its grasp."""
        logit, success, known = self._events(context)
        weight = known.float()
        return {"graspness": BinaryPart.of(logit, success * weight, (1.0 - success) * weight)}

    def _events(
        self, context: "StepContext"
    ) -> tuple[Float[Tensor, "b a"], Float[Tensor, "b a"], Bool[Tensor, "b a"]]:
        """Return log-odds, success and whether that is known, of each true grasp."""
        stable, free = context.batch.grasp_stable, context.batch.grasp_collision_free
        assert stable is not None and free is not None
        success = stable.nan_to_num(0.0) * free.nan_to_num(1.0)
        known = context.valid & (stable.isfinite() | (free == 0.0))
        return context.output(self).gather(1, context.index), success, known


def weigh_anchors(outputs: dict[str, Tensor], power: float) -> dict[str, Tensor]:
    """Return the outputs of a scene's heads with the anchors' logits raised by the chance of success to a power.

    Raises:
        ValueError: a model without this head.
    """
    if power == 0.0:
        return outputs
    if "graspness" not in outputs:
        raise ValueError(
            f"sampling.graspness={power:g} needs a model with the head graspness, this one has "
            f"{', '.join(sorted(outputs))}. Pass sampling.graspness=0."
        )
    chance = nn.functional.logsigmoid(outputs["graspness"])
    return {**outputs, "anchors": outputs["anchors"] + power * chance}


@dataclass(frozen=True, kw_only=True)
class GraspnessHeadConfig(HiddenHeadConfig):
    """Settings of a :class:`GraspnessHead`."""

    head = "graspness"

    def build(self, inputs: HeadInputs) -> GraspnessHead:
        """Make the head."""
        return GraspnessHead(inputs, self)
