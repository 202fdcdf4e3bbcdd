"""What sampled grasps are ordered by: learned odds of success, or their likelihood under the model's flow."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.beside import collision_free_success
from sceneleapultra.models.diffusion.likelihood import FlowRank
from sceneleapultra.models.diffusion.solvers import NoiseSource
from sceneleapultra.models.network.context import AnchoredScene, DecodedGrasps
from sceneleapultra.models.network.heads.base import success_log_odds

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
    """

    generator: "GraspGenerator"
    anchored: AnchoredScene
    grasps: DecodedGrasps
    rng: NoiseSource
    log_odds: LogOdds | None


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

    def of_answer(
        self, score: Float[np.ndarray, "g"], clearance_m: Callable[[], Float[np.ndarray, "g"]]
    ) -> Float[np.ndarray, "g"]:
        """Return what the grasps of an answer are ordered by, whose whole cloud is known: the score as it is.

        Args:
            score: of :meth:`score`.
            clearance_m: measures the distance of each hand to its object's neighbors.
        """
        return score


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
    """By the learned log-odds, lowered where the hand comes near to a neighbor of its object, or is inside of one.

    Answers to requests are ordered so, see :func:`~sceneleapultra.models.beside.collision_free_success`; batches, of
    whose scenes only what the network reads is known, by the log-odds alone.
    """

    margin_m: float
    softness_m: float

    def __post_init__(self) -> None:
        """Refuse a softness that is none."""
        if not self.softness_m > 0.0:
            raise ValueError(f"rank.softness_m: expected more than 0 m, got {self.softness_m}.")

    def of_answer(
        self, score: Float[np.ndarray, "g"], clearance_m: Callable[[], Float[np.ndarray, "g"]]
    ) -> Float[np.ndarray, "g"]:
        """Return log-odds of success that take the clearance for an event of its own."""
        return collision_free_success(score, clearance_m(), self.margin_m, self.softness_m)


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
            lambda x, t: generator.predict_x0(x, t, single), made.grasps.clean, self.flow, made.rng
        )
