"""What sampled grasps are ordered by: learned odds of success, or their likelihood under the model's flow."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sceneleapultra.models.diffusion.likelihood import FlowRank
from sceneleapultra.models.diffusion.solvers import NoiseSource
from sceneleapultra.models.network.context import AnchoredScene, DecodedGrasps
from sceneleapultra.models.network.heads.base import success_log_odds
from sceneleapultra.utils.geometry.voxels.field import OTHERS, SceneField, field_distances

if TYPE_CHECKING:
    from sceneleapultra.models.generator import GraspGenerator


Scores = Float[Tensor, "b k"]  # one per grasp; higher is better
LogOdds = Float[Tensor, "b k 2"]  # of being stable, and of being collision-free


@dataclass(frozen=True)
class Unranked:
    """Grasps, and what they can be ranked by.

    Attributes:
        generator: that made the grasps.
        anchored: the scene they stand in.
        grasps: what is ranked.
        rng: of a rank that draws.
        log_odds: what the generator's score head says of them; None where it was not asked.
        fields: completed scenes; None where nothing is known but the clouds.
    """

    generator: "GraspGenerator"
    anchored: AnchoredScene
    grasps: DecodedGrasps
    rng: NoiseSource
    log_odds: LogOdds | None
    fields: Sequence[SceneField] | None = None


@dataclass(frozen=True, kw_only=True)
class Rank(ABC):
    """What grasps are scored by, as ``config/sampling/rank`` names it.

    Attributes:
        sort: whether grasps are returned best first; otherwise in the order in which they were drawn.
    """

    sort: bool

    @abstractmethod
    def score(self, made: Unranked) -> Scores:
        """Return one number per grasp; higher is better.

        Args:
            made: the grasps.

        Raises:
            ValueError: a generator that cannot be ranked so.
        """


@dataclass(frozen=True, kw_only=True)
class LearnedRank(Rank):
    """By the score head's log-odds: of ``success`` (stable and collision-free) or of being ``stable`` alone."""

    by: Literal["success", "stable"]

    def score(self, made: Unranked) -> Scores:
        """Return log-odds."""
        logits = made.log_odds
        if logits is None:
            logits = made.generator.score_head(made.grasps, made.anchored.scene)
        return logits[..., 0] if self.by == "stable" else success_log_odds(logits)


@dataclass(frozen=True, kw_only=True)
class ClearanceRank(LearnedRank):
    """By the learned log-odds, lowered where the hand is inside of what a completed scene takes for solid.

    ``log p + log sigmoid((c - margin_m) / softness_m)`` with c the least distance of the hand to table and neighbors.
    """

    margin_m: float
    softness_m: float

    def __post_init__(self) -> None:
        """Refuse a softness that is none."""
        if not self.softness_m > 0.0:
            raise ValueError(f"rank.softness_m: expected more than 0 m, got {self.softness_m}.")

    def score(self, made: Unranked) -> Scores:
        """Return log-odds of success that take the clearance for an event of its own."""
        if made.fields is None:
            raise ValueError(
                "sampling.rank=clearance needs a completed scene. Pass completion=<checkpoint of "
                "experiment=completion>, or sampling.rank=score."
            )
        centers, radii = made.generator.hand.spheres(made.grasps.pose)
        gap = (field_distances(made.fields, centers)[..., OTHERS] - radii).amin(-1)
        log_p = functional.logsigmoid(super().score(made))
        log_p = log_p + functional.logsigmoid((gap - self.margin_m) / self.softness_m)
        return log_p - torch.log(-torch.expm1(log_p).clamp(max=-1e-7))


@dataclass(frozen=True, kw_only=True)
class LikelihoodRank(Rank):
    """By the log-density that the probability flow gives each grasp; needs no score head."""

    flow: FlowRank

    def score(self, made: Unranked) -> Scores:
        """Return log-densities, each grasp taken as a set of its own so that its likelihood is that of one grasp."""
        generator, index = made.generator, made.anchored.index
        independent = torch.arange(index.shape[1], device=index.device).expand_as(index)
        single = generator.anchor(made.anchored.scene, index, independent)
        return generator.process.flow_score(
            lambda x, t: generator.predict_x0(x, t, single), made.grasps.states, self.flow, made.rng
        )
