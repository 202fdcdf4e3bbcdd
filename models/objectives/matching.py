"""Which true grasp of a scene each predicted one is compared with.

``Index`` keeps the order: a noised grasp is compared with the one that it was before. The others take predictions and
truth as sets and pair them one to one, as many as possible, at the least total cost. Pairing is no part of the
gradient. Axes: g predicted grasps, k true grasps.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sceneleapultra.hands import GraspPose
from sceneleapultra.utils.geometry.points import gather

_NEVER = 1e4  # cost, in units of the largest one that is allowed, of a pair that is not
_LOG_NOTHING = -1e4  # logarithm of the mass of a row or column without any


@dataclass(frozen=True)
class Match:
    """A one-to-one pairing: prediction i is compared with ``index[i]``; 0 where it is compared with none."""

    index: Int[Tensor, "b g"]
    matched: Bool[Tensor, "b g"]

    def of_targets(self, values: Tensor) -> Tensor:
        """Return what belongs to the true grasps, (b k …), in the order of the predictions, (b g …)."""
        return gather(values, self.index)


@dataclass(frozen=True, kw_only=True)
class PoseCost:
    """How far two grasps are apart: ``|dt|^2 / translation_m^2 + angle^2 / rotation_rad^2 + mean dq^2 / joints_rad^2``.

    Each setting is the difference that costs 1.
    """

    translation_m: float
    rotation_rad: float
    joints_rad: float

    def __post_init__(self) -> None:
        """Refuse scales without a meaning."""
        for key, scale in vars(self).items():
            if not scale > 0.0:
                raise ValueError(
                    f"matching.cost.{key}: expected more than 0 (inf to leave it out), got {scale}."
                )

    @torch.no_grad()
    def __call__(self, predicted: GraspPose, true: GraspPose) -> Float[Tensor, "b g k"]:
        """Return the cost of each pair, in double precision; poses (b g) and (b k) in one frame."""
        a, b = (
            (p.translation.double(), p.rotation.double().flatten(-2), p.qpos.double())
            for p in (predicted, true)
        )
        apart = (a[0][:, :, None] - b[0][:, None]).square().sum(-1)
        # tr(A^T B) = 1 + 2 cos(angle).
        angle = ((a[1] @ b[1].transpose(1, 2) - 1.0) / 2.0).clamp(-1.0, 1.0).acos()
        joints = (a[2][:, :, None] - b[2][:, None]).square().mean(-1)
        return (
            apart / self.translation_m**2
            + angle.square() / self.rotation_rad**2
            + joints / self.joints_rad**2
        )


class Matching(ABC):
    """Says which true grasp each predicted one is compared with."""

    @abstractmethod
    def __call__(
        self, predicted: Callable[[], GraspPose], true: GraspPose, set_id: Int[Tensor, "b g"]
    ) -> Match | None:
        """Return the pairing; None for the grasps in their order.

        Args:
            predicted: gives the predicted grasps (b g); called where pairs depend on them.
            true: the true grasps (b g), in the same frame.
            set_id: number of the set that each is in, -1 for those that do not count: pairs are of one set.
        """


@dataclass(frozen=True, kw_only=True)
class Index(Matching):
    """Each prediction with the grasp that it was noised from."""

    def __call__(
        self, predicted: Callable[[], GraspPose], true: GraspPose, set_id: Int[Tensor, "b g"]
    ) -> None:
        """Keep the order."""


@dataclass(frozen=True, kw_only=True)
class SetMatching(Matching):
    """Pairs the sets one to one, as many as possible, at a low total cost."""

    cost: PoseCost

    def __call__(
        self, predicted: Callable[[], GraspPose], true: GraspPose, set_id: Int[Tensor, "b g"]
    ) -> Match:
        """Pair grasps by their poses."""
        allowed = (set_id[:, :, None] == set_id[:, None]) & (set_id[:, None] >= 0)
        return self.pair(self.cost(predicted(), true), allowed)

    @abstractmethod
    def pair(self, cost: Float[Tensor, "b g k"], allowed: Bool[Tensor, "b g k"]) -> Match:
        """Pair g predictions and k true grasps one to one; a pair that is not allowed may cost anything."""


@dataclass(frozen=True, kw_only=True)
class Hungarian(SetMatching):
    """The exact optimum, in double precision on the host: on a GPU it waits for the device once per step.

    Source: Jonker & Volgenant's algorithm as in scipy (Crouse 2016).
    """

    def pair(self, cost: Float[Tensor, "b g k"], allowed: Bool[Tensor, "b g k"]) -> Match:
        """Pair at the least total cost.

        Raises:
            ValueError: an allowed pair has a cost that is not finite.
        """
        host, may = cost.detach().double().cpu().numpy(), allowed.cpu().numpy()
        if (bad := may & ~np.isfinite(host)).any():
            scene, i, k = np.argwhere(bad)[0]
            raise ValueError(
                f"Matching needs finite costs; prediction {i} and true grasp {k} of scene {scene} of the batch cost "
                f"{host[scene, i, k]}. The prediction or the grasp is not finite: see the NaN report of the step."
            )
        index = np.zeros(cost.shape[:2], dtype=np.int64)
        matched = np.zeros(cost.shape[:2], dtype=bool)
        for scene, (costs, pairs) in enumerate(zip(host, may, strict=True)):
            if pairs.any():
                least = costs[pairs].min()
                # A pair that is not allowed costs more than all others together: no optimum has one it could avoid.
                never = (np.ptp(costs[pairs]) + 1.0) * (min(costs.shape) + 1)
                rows, columns = linear_sum_assignment(np.where(pairs, costs - least, never))
                index[scene, rows] = columns * pairs[rows, columns]
                matched[scene, rows] = pairs[rows, columns]
        return Match(torch.from_numpy(index).to(cost.device), torch.from_numpy(matched).to(cost.device))


@dataclass(frozen=True, kw_only=True)
class Sinkhorn(SetMatching):
    """Near the optimum, for all scenes together, and without waiting for the device.

    Entropic transport in the logarithm, with less and less entropy, then the largest entries of the plan one by one.
    What is allowed must be blocks: valid pairs within sets. A cost that is not finite cannot be reported without
    waiting; the loss of its pair is not finite either, and stops the run.

    Source: Cuturi 2013; Sarlin et al. 2020 (SuperGlue), section 3.3, for what stays without a partner.

    Attributes:
        iterations: updates of rows and columns.
        entropy: at the end, in units of the largest cost of a scene; smaller is nearer to the optimum and takes more
            iterations.
    """

    iterations: int
    entropy: float

    def __post_init__(self) -> None:
        """Refuse settings without a meaning."""
        if self.iterations < 1:
            raise ValueError(f"matching.iterations: expected at least 1, got {self.iterations}.")
        if not 0.0 < self.entropy < 1.0:
            raise ValueError(f"matching.entropy: expected more than 0 and less than 1, got {self.entropy}.")

    @torch.no_grad()
    def pair(self, cost: Float[Tensor, "b g k"], allowed: Bool[Tensor, "b g k"]) -> Match:
        """Pair at nearly the least total cost."""
        return take_largest(self.plan(cost.detach().double(), allowed), allowed)

    def plan(self, cost: Float[Tensor, "b g k"], allowed: Bool[Tensor, "b g k"]) -> Float[Tensor, "b g k"]:
        """Return the logarithm of the transport plan, up to a constant of each scene."""
        g, k = cost.shape[1:]
        cost = cost.masked_fill(~allowed, 0.0)
        low = cost.masked_fill(~allowed, math.inf).amin((1, 2), keepdim=True).nan_to_num(posinf=0.0)
        cost = (cost - low).masked_fill(~allowed, 0.0)
        cost = (cost / cost.amax((1, 2), keepdim=True).clamp_min(1e-12)).masked_fill(~allowed, _NEVER)
        # One more row and column take what has no partner, at the largest cost.
        cost = torch.nn.functional.pad(cost, (0, 1, 0, 1), value=1.0)
        cost[:, -1, -1] = 0.0
        row, column = allowed.any(2).double(), allowed.any(1).double()
        log_row = torch.cat([row, column.sum(1, keepdim=True)], dim=1).log().clamp_min(_LOG_NOTHING)
        log_column = torch.cat([column, row.sum(1, keepdim=True)], dim=1).log().clamp_min(_LOG_NOTHING)
        u, v = torch.zeros_like(log_row), torch.zeros_like(log_column)
        for i in range(self.iterations):
            # From a plan that hardly minds the cost to one that minds little else.
            entropy = self.entropy ** ((i + 1) / self.iterations)
            u = entropy * (log_row - torch.logsumexp((v[:, None] - cost) / entropy, dim=2))
            v = entropy * (log_column - torch.logsumexp((u[:, :, None] - cost) / entropy, dim=1))
        return ((u[:, :, None] + v[:, None] - cost) / self.entropy)[:, :g, :k]


def take_largest(score: Float[Tensor, "b g k"], allowed: Bool[Tensor, "b g k"]) -> Match:
    """Pair one to one by taking the largest allowed score that is left, again and again."""
    b, g, k = score.shape
    score = score.masked_fill(~allowed, -math.inf)
    index = torch.zeros(b, g, dtype=torch.int64, device=score.device)
    matched = torch.zeros(b, g, dtype=torch.bool, device=score.device)
    rows, columns = torch.arange(g, device=score.device), torch.arange(k, device=score.device)
    for _ in range(min(g, k)):
        value, place = score.flatten(1).max(dim=1)
        row = rows == (place // k)[:, None]
        column = columns == (place % k)[:, None]
        here = row & (value > -math.inf)[:, None]
        index = torch.where(here, (place % k)[:, None], index)
        matched = matched | here
        score = score.masked_fill(row[:, :, None] | column[:, None], -math.inf)
    return Match(index, matched)
