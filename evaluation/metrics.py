"""What is measured about a set of tested grasps: rates with intervals, and how different the grasps are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sceneleapultra.hands import GraspPose
from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.geometry.rotation import geodesic_distance
from sceneleapultra.utils.records import Grasps


@dataclass(frozen=True)
class Rate:
    """A success rate with two intervals of 95 %.

    ``wilson`` takes the trials as independent; ``clustered`` resamples whole objects, because grasps of one object
    succeed and fail together, and is the honest one for "another set of objects".
    """

    successes: int
    trials: int
    wilson: tuple[float, float]
    clustered: tuple[float, float]

    @property
    def value(self) -> float:
        """Share of successes; NaN without trials."""
        return self.successes / self.trials if self.trials else float("nan")


@dataclass(frozen=True)
class Diversity:
    """How different the grasps of one item are, in the frame of its object."""

    translation_mm: float  # root mean square over axes of the standard deviation: the same in any frame
    rotation_deg: float  # mean geodesic angle over pairs
    joints_rad: float  # mean over joints of the standard deviation


def success_rate(
    success: Bool[np.ndarray, "n"], cluster: Sequence[str], *, seed: int, resamples: int
) -> Rate:
    """Return the rate of successes, with clusters (objects) for the second interval."""
    interval = cluster_interval(success, cluster, seed=seed, resamples=resamples)
    total, trials = int(np.sum(success)), len(success)
    return Rate(total, trials, wilson_interval(total, trials), interval)


def cluster_interval(
    success: Bool[np.ndarray, "n"], cluster: Sequence[str], *, seed: int, resamples: int
) -> tuple[float, float]:
    """Return the percentile interval (2.5, 97.5) of the rate when clusters are drawn with replacement.

    (0, 1) with fewer than two clusters: nothing can be said about others.
    """
    names, index = np.unique(np.asarray(cluster, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        return 0.0, 1.0
    trials = np.bincount(index, minlength=len(names))
    successes = np.bincount(index, weights=np.asarray(success, dtype=float), minlength=len(names))
    draws = np.random.default_rng([seed, len(names)]).integers(len(names), size=(resamples, len(names)))
    rates = successes[draws].sum(1) / trials[draws].sum(1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def diversity(grasps: Grasps) -> Diversity | None:
    """Return how different grasps of one object are; None for fewer than two.

    The grasps may be given in any one frame fixed to the object: the numbers do not depend on it.
    """
    if len(grasps) < 2:
        return None
    pose = GraspPose.from_hand_pose(torch.from_numpy(np.asarray(grasps.hand_pose, dtype=np.float64)))
    first, second = torch.triu_indices(len(grasps), len(grasps), offset=1)
    angles = geodesic_distance(pose.rotation[first], pose.rotation[second])
    return Diversity(
        translation_mm=float(1e3 * pose.translation.var(0, correction=0).mean().sqrt()),
        rotation_deg=float(torch.rad2deg(angles).mean()),
        joints_rad=float(pose.qpos.std(0, correction=0).mean()),
    )


def mean_diversity(
    grasps: Grasps, item: Int[np.ndarray, "n"], keep: Bool[np.ndarray, "n"]
) -> dict[str, float]:
    """Average the diversity of the kept grasps over the items with at least two of them; NaN where there is none."""
    rows = []
    for number in np.unique(item):
        if (found := diversity(grasps[(item == number) & keep])) is not None:
            rows.append((found.translation_mm, found.rotation_deg, found.joints_rad))
    values = np.mean(rows, axis=0) if rows else np.full(3, np.nan)
    return dict(zip(("translation_mm", "rotation_deg", "joints_rad"), values.tolist(), strict=True))


def top_scored(score: Float[np.ndarray, "n"], keep: int) -> Int[np.ndarray, "m"]:
    """Return the places of the ``keep`` highest scores, best first; ties in their order.

    Raises:
        ValueError: a score is NaN, or fewer grasps than are to be kept.
    """
    if np.isnan(score).any():
        raise ValueError(
            "Keeping the best grasps needs a score for each; this sampler gives none. Pass keep=null."
        )
    if keep > len(score):
        raise ValueError(f"{keep} grasps are to be kept of {len(score)} samples; draw more or keep fewer.")
    return np.argsort(-score, kind="stable")[:keep]


def paired_difference(
    first: Bool[np.ndarray, "n"],
    first_cluster: Sequence[str],
    second: Bool[np.ndarray, "m"],
    second_cluster: Sequence[str],
    *,
    seed: int,
    resamples: int,
) -> tuple[float, tuple[float, float]]:
    """Return the second rate minus the first, and its percentile interval (2.5, 97.5) over the clusters of both.

    Both rates are taken of the same drawn clusters (objects), so that an object that is easy for both says nothing.
    (-1, 1) with fewer than two clusters.

    Raises:
        ValueError: the clusters are not the same.
    """
    names = np.unique(np.asarray(first_cluster, dtype=object).astype(str))
    totals = []
    for success, cluster in ((first, first_cluster), (second, second_cluster)):
        found, index = np.unique(np.asarray(cluster, dtype=object).astype(str), return_inverse=True)
        if not np.array_equal(found, names):
            raise ValueError("A paired difference needs rates of the same objects.")
        trials = np.bincount(index, minlength=len(names))
        totals.append((np.bincount(index, weights=success.astype(float), minlength=len(names)), trials))
    value = float(np.mean(second) - np.mean(first))
    if len(names) < 2:
        return value, (-1.0, 1.0)
    draws = np.random.default_rng([seed, len(names)]).integers(len(names), size=(resamples, len(names)))
    one, other = (successes[draws].sum(1) / trials[draws].sum(1) for successes, trials in totals)
    low, high = np.percentile(other - one, [2.5, 97.5])
    return value, (float(low), float(high))
