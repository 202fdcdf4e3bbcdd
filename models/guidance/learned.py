"""How the score head steers sampling: its predicted probabilities of success, pushed up on the last steps.

Grasps of low probability are moved up its gradient: on the result, as 6-DOF GraspNet refines its grasps (Mousavian et
al. 2019), and on evaluations, as in evaluator-guided diffusion (Weng et al. 2024, DexDiffuser). The gradient is that of
the head with respect to the predicted grasp; the network that predicted it is left out. The choice of an anchor has no
gradient: there one grasp is tried on each, and anchors are reweighted by how likely that grasp succeeds,
``p(anchor | stable) ~ p(anchor) p(stable | anchor)`` with the second factor to a power.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.guidance.correction import Correction, check_settings, descend
from sceneleapultra.models.network.context import AnchoredScene

if TYPE_CHECKING:
    from sceneleapultra.models.generator import GraspGenerator

WEIGHTS = ("stable", "collision_free")  # of the head's outputs, in their order


@dataclass(frozen=True, kw_only=True)
class ScoreGuidance:
    """Extent and weights, as ``config/sampling/guidance/stable.yaml`` explains them."""

    below_t: float
    iterations: int
    max_step: float
    stable: float
    collision_free: float
    anchors: float

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        check_settings(
            "scorer",
            self,
            at_least_one=(),
            positive=("max_step",),
            not_negative=("iterations", *WEIGHTS, "anchors"),
        )


class BoundScore(Correction):
    """The score head on the grasps of a batch: predicted x0 in, grasps of higher predicted probability out."""

    def __init__(self, settings: ScoreGuidance, generator: "GraspGenerator", anchored: AnchoredScene) -> None:
        self.settings, self.generator, self.anchored = settings, generator, anchored
        self.below_t = settings.below_t
        self._weights = anchored.origins.new_tensor([getattr(settings, name) for name in WEIGHTS])

    def __call__(self, x0: Float[Tensor, "b g d"]) -> Float[Tensor, "b g d"]:
        """Push the energy of each grasp down."""
        s = self.settings
        return descend(x0, self.energy, iterations=s.iterations, rate=1.0, max_step=s.max_step)

    def energy(self, x0: Float[Tensor, "b g d"]) -> Float[Tensor, "b g"]:
        """Return the weighted negative log-probabilities of being stable and collision-free."""
        grasps = self.generator.decode(x0, self.anchored)
        logits = self.generator.score_head(grasps, self.anchored.scene)
        return -(torch.nn.functional.logsigmoid(logits) * self._weights).sum(-1)
