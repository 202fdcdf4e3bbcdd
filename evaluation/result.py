"""What one method did on one split: a row per grasp, and what the rows add up to."""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sceneleapultra.evaluation.metrics import Rate, mean_diversity, success_rate
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.records import Grasps, Outcome

_RESAMPLES = 2000


@dataclass(frozen=True)
class Rows:
    """One entry per grasp; NaN where a quantity was not measured."""

    object_name: tuple[str, ...]
    family: tuple[str, ...]
    item: Int[np.ndarray, "n"]  # number of the item in its store
    success: Bool[np.ndarray, "n"]  # the protocol's verdict
    clear: Bool[np.ndarray, "n"]  # hand clear of table and neighbors, at pre-grasp and grasp
    outcome: UInt8[np.ndarray, "n"]  # values of utils.records.Outcome
    direction_success: Bool[np.ndarray, "n d"]
    displacement_m: Float[np.ndarray, "n"]
    penetration_m: Float[np.ndarray, "n"]
    self_penetration_m: Float[np.ndarray, "n"]
    contact_links: Float[np.ndarray, "n"]
    clearance_m: Float[np.ndarray, "n"]
    score: Float[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.success)

    @property
    def ran(self) -> Bool[np.ndarray, "n"]:
        """Which grasps have a verdict; the simulation of the others diverged."""
        return self.outcome != Outcome.NOT_RUN

    def to_json(self) -> dict[str, list[Any]]:
        """Return columns of plain values; NaN becomes null."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, columns: dict[str, list[Any]]) -> "Rows":
        """Read what ``to_json`` wrote."""
        values: dict[str, Any] = {}
        for f in fields(cls):
            column = columns[f.name]
            if f.name in ("object_name", "family"):
                values[f.name] = tuple(column)
            else:
                holes = [math.nan if x is None else x for x in column]
                values[f.name] = np.asarray(holes, dtype=_DTYPE.get(f.name, np.float64))
        return cls(**values)


_DTYPE = {"item": np.int64, "success": bool, "clear": bool, "outcome": np.uint8, "direction_success": bool}


@dataclass(frozen=True)
class MethodResult:
    """One method judged on one split.

    Attributes:
        method: its name in tables.
        privileged_inputs: what it knows of a test item beside the cloud.
        role: what it is in the test.
        split: where the items come from.
        rows: verdicts.
        grasps: the grasps behind the rows, world frame of their scene.
    """

    method: str
    privileged_inputs: str
    role: Role
    split: str
    rows: Rows
    grasps: Grasps

    def rate(self, *, seed: int = 0) -> Rate:
        """Share of the grasps that ran which passed the protocol."""
        return self._rate(self.rows.success, seed)

    def clear_rate(self, *, seed: int = 0) -> Rate:
        """Share which passed the protocol and kept clear of table and neighbors."""
        return self._rate(self.rows.success & self.rows.clear, seed)

    def _rate(self, success: Bool[np.ndarray, "n"], seed: int) -> Rate:
        ran = self.rows.ran
        names = np.array(self.rows.object_name, dtype=object)[ran]
        return success_rate(success[ran], list(names), seed=seed, resamples=_RESAMPLES)

    def summary(self) -> dict[str, Any]:
        """Return everything the rows add up to, ready for JSON."""
        rows, ran = self.rows, self.rows.ran
        everything = np.ones(len(rows), dtype=bool)
        objects = set(rows.object_name)
        solved = {name for name, ok in zip(rows.object_name, rows.success, strict=True) if ok}
        return {
            "success": _rate_json(self.rate()),
            "success_and_clear": _rate_json(self.clear_rate()),
            "object_success": len(solved) / len(objects) if objects else None,
            "direction_success": [_mean(column) for column in rows.direction_success[ran].T.astype(float)],
            "penetration_mm": _mean(1e3 * rows.penetration_m[ran]),
            "penetration_mm_median": _median(1e3 * rows.penetration_m[ran]),
            "self_penetration_mm": _mean(1e3 * rows.self_penetration_m[ran]),
            "contact_links": _mean(rows.contact_links[ran]),
            "diversity": _finite(mean_diversity(self.grasps, rows.item, everything)),
            "diversity_of_successes": _finite(mean_diversity(self.grasps, rows.item, rows.success)),
            "outcomes": {o.name.lower(): int((rows.outcome == o).sum()) for o in Outcome},
            "families": self.families(),
            "num_grasps": len(rows),
            "num_items": len(np.unique(rows.item)),
            "num_objects": len(objects),
            "num_not_run": int((~ran).sum()),
        }

    def families(self) -> dict[str, dict[str, Any]]:
        """Return the success rate of each family, by name."""
        family, ran = np.array(self.rows.family, dtype=object), self.rows.ran
        names = np.array(self.rows.object_name, dtype=object)
        table = {}
        for name in sorted(set(self.rows.family)):
            chosen = ran & (family == name)
            rate = success_rate(self.rows.success[chosen], list(names[chosen]), seed=0, resamples=_RESAMPLES)
            table[name] = _rate_json(rate) | {"objects": len(set(names[chosen]))}
        return table

    def to_json(self) -> dict[str, Any]:
        """Return summary and rows; the grasps' poses stay out."""
        return {
            "method": self.method,
            "privileged_inputs": self.privileged_inputs,
            "role": self.role,
            "split": self.split,
            "summary": self.summary(),
            "rows": self.rows.to_json(),
        }


def _rate_json(rate: Rate) -> dict[str, Any]:
    return {
        "value": None if math.isnan(rate.value) else rate.value,
        "successes": rate.successes,
        "trials": rate.trials,
        "wilson95": list(rate.wilson),
        "by_object95": list(rate.clustered),
    }


def _mean(values: Float[np.ndarray, "n"]) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _median(values: Float[np.ndarray, "n"]) -> float | None:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else None


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def _plain(column: Any) -> list[Any]:
    if isinstance(column, tuple):
        return list(column)
    if np.issubdtype(column.dtype, np.floating):
        return [None if math.isnan(x) else round(x, 6) for x in column.tolist()]
    return column.tolist()
