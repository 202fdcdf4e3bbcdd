"""How likely grasps are to succeed, learned from verdicts of the simulator.

Success has two parts that fail for different reasons and are learned apart: the grasp is *stable* (it holds the object
in the protocol, or lifts it), and the hand is *collision-free* (it touches neither table nor neighbors; of a lift: it
presses none hard and shoves none).
"""

from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.losses import score_loss
from sceneleapultra.models.metrics import BinaryPart, MetricPart
from sceneleapultra.models.network.heads.base import GraspHead, HeadConfig, require_at_least_one

if TYPE_CHECKING:
    from sceneleapultra.models.objectives.context import StepContext


class ScoreHead(GraspHead, ABC):
    """Log-odds of being stable and of being collision-free, for any grasp on a scene."""

    labels = ("grasp_stable", "grasp_collision_free")
    outputs = ("stable", "collision_free")

    def loss(self, context: "StepContext") -> Float[Tensor, ""]:
        """Return the binary cross-entropy of both, each where it is known."""
        logits = context.output(self)
        stable, collision_free = context.batch.grasp_stable, context.batch.grasp_collision_free
        assert stable is not None and collision_free is not None
        return score_loss(logits, stable, collision_free, context.valid)

    def metrics(self, context: "StepContext") -> dict[str, MetricPart]:
        """Return the grasps whose verdict is known, for each output."""
        parts: dict[str, MetricPart] = {}
        for name, logit in zip(self.outputs, context.output(self).unbind(-1), strict=True):
            truth = getattr(context.batch, f"grasp_{name}")
            known = (truth.isfinite() & context.valid).float()
            true = truth.nan_to_num()
            parts[name] = BinaryPart.of(logit, true * known, (1.0 - true) * known)
        return parts


@dataclass(frozen=True, kw_only=True)
class ScoreHeadConfig(HeadConfig):
    """Sizes of a score head, as ``config/model/generator/heads/score`` names them."""

    at_least_one: ClassVar[tuple[str, ...]]
    contact_scale: float

    def __post_init__(self) -> None:
        """Refuse sizes that no head can have."""
        require_at_least_one("model.generator.heads.score", self, self.at_least_one)
        if not self.contact_scale > 0.0:
            raise ValueError(
                f"model.generator.heads.score.contact_scale must be positive, got {self.contact_scale}."
            )
