"""Which points of a cloud are kept when it has more than wanted: the farthest, one of each voxel in turn, or a mixture.

Exactly as many as asked for, none twice, the same for the same generator.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.geometry.grid_numpy import cells_numpy, places_numpy
from sceneleapultra.utils.geometry.point_order import farthest_point_order_numpy

PointSampler = Literal["farthest", "voxel", "hybrid"]


@dataclass(frozen=True, kw_only=True)
class PointChoice:
    """How points are chosen; ``config/data`` says what each number means."""

    sampler: str
    cell_m: float
    shares: tuple[float, float, float]
    falloff_m: float

    def __post_init__(self) -> None:
        if self.sampler not in get_args(PointSampler):
            raise unknown_name("point sampler", self.sampler, get_args(PointSampler))
        for key in ("cell_m", "falloff_m"):
            if not getattr(self, key) > 0.0:
                raise ValueError(
                    f"data.cloud.points.{key}: expected more than 0 m, got {getattr(self, key)}."
                )
        if min(self.shares) < 0.0 or not math.isclose(sum(self.shares), 1.0, abs_tol=1e-6):
            raise ValueError(
                "data.cloud.points.shares: expected three shares of at least 0 that add up to 1 (farthest, random, "
                f"important), got {list(self.shares)}."
            )

    def __call__(
        self,
        points: Float[np.ndarray, "n 3"],
        k: int,
        center: Float[np.ndarray, "3"],
        rng: np.random.Generator,
    ) -> Int[np.ndarray, "k"]:
        """Return the indices of ``k`` points in farthest-point order; the nearer to ``center`` the more important.

        Raises:
            ValueError: fewer points than wanted.
        """
        if not 0 <= k <= len(points):
            raise ValueError(
                f"Expected to choose 0 to {len(points)} points (the size of the cloud), got k={k}."
            )
        if k == 0:
            return np.empty(0, dtype=np.int64)
        if self.sampler == "farthest":
            return farthest_point_order_numpy(points, k)
        if self.sampler == "voxel":
            chosen = by_voxel(points, k, self.cell_m, rng)
        else:
            distance = np.linalg.norm(points - center, axis=-1)
            chosen = mixture(points, k, self.shares, -distance / self.falloff_m, rng)
        return chosen[farthest_point_order_numpy(points[chosen], k)]


def by_voxel(
    points: Float[np.ndarray, "n 3"], k: int, cell_m: float, rng: np.random.Generator
) -> Int[np.ndarray, "k"]:
    """Choose a random point of every voxel, then a second one where there are, and so on until there are ``k``.

    Where a round has more voxels than places are left, chance decides which of them go empty.
    """
    order = rng.permutation(len(points))
    place = places_numpy(cells_numpy(points, cell_m), order)
    return order[np.argsort(place[order], kind="stable")[:k]]


def mixture(
    points: Float[np.ndarray, "n 3"],
    k: int,
    shares: tuple[float, float, float],
    log_weight: Float[np.ndarray, "n"],
    rng: np.random.Generator,
) -> Int[np.ndarray, "k"]:
    """Choose farthest points, important ones of what is left, and the remainder at random of what is left then.

    The important ones are drawn in proportion to their weight without replacement, which is to take the largest of
    ``log_weight`` plus Gumbel noise (Vieira 2014; Kool et al. 2019, "Stochastic beams", section 2).
    """
    num_far, num_important = round(k * shares[0]), round(k * shares[2])
    num_important = min(num_important, k - num_far)
    left = np.ones(len(points), dtype=bool)

    def take(chosen: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m"]:
        left[chosen] = False
        return chosen

    start = int(rng.integers(len(points)))
    far = take(farthest_point_order_numpy(points, num_far, start)) if num_far else np.empty(0, np.int64)
    candidates = np.flatnonzero(left)
    key = log_weight[candidates] + rng.gumbel(size=len(candidates))
    important = take(candidates[np.argsort(-key, kind="stable")[:num_important]])
    at_random = rng.permutation(np.flatnonzero(left))[: k - num_far - num_important]
    return np.concatenate([far, important, at_random])
