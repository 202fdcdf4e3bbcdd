"""How what the scorer has learned from verdicts steers sampling: its odds of success, pushed up on the last steps.

A grasp that the scorer doubts is moved to where it doubts less: on the result, as 6-DOF GraspNet refines its grasps
(Mousavian et al. 2019), and on evaluations, as in evaluator-guided diffusion (Weng et al. 2024, DexDiffuser). The
gradient is that of the scorer with respect to the predicted grasp; the network that predicted it is left out. Which
point of the cloud carries a grasp has no gradient: there one grasp is tried on each, and points whose grasp is doubted
are chosen less, ``p(anchor | it holds) ~ p(anchor) p(it holds | anchor)`` with the second factor to a power.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.denoiser import Anchored, Denoiser
from sceneleapultra.models.guidance.correction import Correction, check_settings, descend
from sceneleapultra.models.network.scorer.base import GraspScorer, finished

CHANCES = ("hold", "clear")  # weighted


@dataclass(frozen=True, kw_only=True)
class ScorerGuidance:
    """Extent and weights, as ``config/guidance/hold.yaml`` explains them."""

    below_t: float
    iterations: int
    max_step: float
    hold: float
    clear: float
    anchors: float

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        check_settings(
            "scorer",
            self,
            at_least_one=(),
            positive=("max_step",),
            not_negative=("iterations", *CHANCES, "anchors"),
        )


class BoundScorer(Correction):
    """The scorer's opinion of the grasps of a batch: predicted x0 in, grasps that it doubts less out."""

    def __init__(
        self, settings: ScorerGuidance, scorer: GraspScorer, denoiser: Denoiser, anchored: Anchored
    ) -> None:
        self.settings, self.scorer, self.denoiser, self.anchored = settings, scorer, denoiser, anchored
        self.below_t = settings.below_t
        self._weights = anchored.origins.new_tensor([getattr(settings, name) for name in CHANCES])

    def __call__(self, x0: Float[Tensor, "b g d"]) -> Float[Tensor, "b g d"]:
        """Push the doubt about each grasp down."""
        s = self.settings
        return descend(x0, self.doubt, iterations=s.iterations, rate=1.0, max_step=s.max_step)

    def doubt(self, x0: Float[Tensor, "b g d"]) -> Float[Tensor, "b g"]:
        """Return the weighted negative logarithms of the chances of holding and of being clear."""
        parts = self.scorer(finished(self.denoiser, x0, self.anchored), self.anchored.scene)
        return -(torch.nn.functional.logsigmoid(parts) * self._weights).sum(-1)
