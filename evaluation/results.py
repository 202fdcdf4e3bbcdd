"""What one method did on one split: a verdict for each grasp, and what they add up to."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from sceneleapultra.evaluation.metrics import Rate, mean_diversity, success_rate
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.records import Grasps
from sceneleapultra.utils.verdicts import VerdictTable

_RESAMPLES = 2000


@dataclass(frozen=True)
class GraspResults:
    """One method evaluated on one split.

    Attributes:
        method: its name in tables.
        privileged_inputs: what it knows of a test item.
        role: what it is in the test.
        split: where the items come from.
        table: verdicts, with the columns ``family``, ``item``, ``collision_free`` and ``score`` beside the protocol's.
        grasps: the grasps of the table, world frame of their scene, with the approach if the protocol chose one.
    """

    method: str
    privileged_inputs: str
    role: Role
    split: str
    table: VerdictTable
    grasps: Grasps

    @property
    def stable_and_collision_free(self) -> Bool[np.ndarray, "n"]:
        """Which grasps stood the protocol without touching table or neighbors."""
        return self.table["stable"] & self.table["collision_free"]

    def rate(self, success: Bool[np.ndarray, "n"], *, seed: int = 0) -> Rate:
        """Return the share of successes among the grasps that ran."""
        ran = self.table.ran
        names = list(self.table["object_name"][ran])
        return success_rate(success[ran], names, seed=seed, resamples=_RESAMPLES)

    def summary(self) -> dict[str, Any]:
        """Return everything the verdicts add up to, ready for JSON."""
        table = self.table
        everything = np.ones(len(table), dtype=bool)
        return table.summary(_clustered_rate) | {
            "stable_and_collision_free": _rate_json(self.rate(self.stable_and_collision_free)),
            "diversity": _finite(mean_diversity(self.grasps, table["item"], everything)),
            "diversity_of_stable": _finite(mean_diversity(self.grasps, table["item"], table["stable"])),
            "families": self.families(),
            "num_items": len(np.unique(table["item"])),
        }

    def families(self) -> dict[str, dict[str, Any]]:
        """Return the rate of stable grasps of each family, by name."""
        family, names, ran = self.table["family"], self.table["object_name"], self.table.ran
        rates = {}
        for name in sorted(set(family)):
            chosen = ran & (family == name)
            rate = _clustered_rate(self.table["stable"][chosen], list(names[chosen]))
            rates[name] = rate | {"objects": len(set(names[chosen]))}
        return rates

    def to_json(self) -> dict[str, Any]:
        """Return summary, what it means, and the table; the grasps' poses stay out."""
        return {
            "method": self.method,
            "privileged_inputs": self.privileged_inputs,
            "role": self.role.value,
            "split": self.split,
            "summary": self.summary(),
            "measures": self.table.measures(),
            "rows": self.table.to_json(),
        }


def _clustered_rate(success: Bool[np.ndarray, "n"], objects: Iterable[str]) -> dict[str, Any]:
    return _rate_json(success_rate(success, list(objects), seed=0, resamples=_RESAMPLES))


def _rate_json(rate: Rate) -> dict[str, Any]:
    return {
        "value": None if math.isnan(rate.value) else rate.value,
        "successes": rate.successes,
        "trials": rate.trials,
        "wilson95": list(rate.wilson),
        "by_object95": list(rate.clustered),
    }


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in values.items()}
