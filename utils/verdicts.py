"""What is known of many grasps that were tried: a table of columns, one row for each grasp."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from sceneleapultra.utils.columns import COLUMNS, Column
from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.records import Outcome, RowIndex

Rate = Callable[
    [Bool[np.ndarray, "n"], Iterable[str]], Mapping[str, Any]
]  # of successes, and the object of each


@dataclass(frozen=True)
class VerdictTable:
    """Verdicts of one protocol on g grasps, in their order.

    Directions that were not run (pre-grasp rejected, stopped at a failure) are False. Displacement and angle are the
    largest over the directions run. A quantity that was not measured is NaN.

    Example::

        table = evaluate_grasps(hand, scene, grasps, "dgb-fc")
        table["stable"].mean(), table["penetration_m"].max(), table.summary()

    Attributes:
        protocol: name of the protocol.
        protocol_hash: its fingerprint; tables of one fingerprint can be joined.
        values: columns by name.
        columns: what each is.
    """

    protocol: str
    protocol_hash: str
    values: Mapping[str, np.ndarray]
    columns: Mapping[str, Column]

    @classmethod
    def of(
        cls, protocol: str, protocol_hash: str, values: Mapping[str, Any], extra: Sequence[Column] = ()
    ) -> "VerdictTable":
        """Make a table of known columns, and of ``extra`` ones that a plugin declares.

        Raises:
            ValueError: a column that nobody declared, or columns of different lengths.
        """
        known = COLUMNS | {column.name: column for column in extra}
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(
                f"Column '{unknown[0]}' is not declared. Declare it in utils/columns.py, or in the metric or trial "
                "that fills it."
            )
        arrays = {name: known[name].array(column) for name, column in values.items()}
        if len({len(array) for array in arrays.values()}) > 1:
            lengths = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
            raise ValueError(f"Columns of a table have one length, got {lengths}.")
        return cls(protocol, protocol_hash, arrays, {name: known[name] for name in arrays})

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column.

        Raises:
            KeyError: no such column; the message names those there are.
        """
        if name not in self.values:
            raise KeyError(f"no column '{name}'; this table has {', '.join(self.values)}")
        return self.values[name]

    def rows(self, rows: RowIndex) -> "VerdictTable":
        """Return some of the rows."""
        return replace(self, values={name: array[rows] for name, array in self.values.items()})

    def with_columns(self, values: Mapping[str, Any]) -> "VerdictTable":
        """Return the table with more columns, or other values in those it has."""
        columns = list(self.columns.values())
        return VerdictTable.of(self.protocol, self.protocol_hash, {**self.values, **values}, columns)

    @classmethod
    def concatenate(cls, parts: Sequence["VerdictTable"]) -> "VerdictTable":
        """Join tables of one protocol in order.

        Raises:
            ValueError: nothing to join, or tables of different protocols, MuJoCo versions or columns.
        """
        if len({part.protocol_hash for part in parts}) != 1:
            known = ", ".join(f"{p.protocol} ({p.protocol_hash})" for p in parts) or "none"
            raise ValueError(f"Verdicts of one protocol can be joined, got {known}. Join each apart.")
        first = parts[0]
        if any(part.columns != first.columns for part in parts):
            raise ValueError("Verdicts of the same columns can be joined. Measure the same metrics of each.")
        joined = {name: np.concatenate([part.values[name] for part in parts]) for name in first.values}
        return replace(first, values=joined)

    @property
    def ran(self) -> Bool[np.ndarray, "g"]:
        """Which grasps have a verdict; the simulation of the others diverged."""
        return self["outcome"] != Outcome.NOT_RUN

    def summary(self, rate: Rate | None = None) -> dict[str, Any]:
        """Return what the columns reduce to, ready for JSON; grasps not run are no trials.

        Args:
            rate: makes a rate of successes and the objects they belong to; the default gives a Wilson interval.
        """
        ran, names, made = self.ran, self["object_name"], rate or wilson_rate
        trials = self.rows(ran)
        result: dict[str, Any] = {}
        for name, column in self.columns.items():
            values = trials[name]
            for reduction in column.reductions:
                key = column.key_of(reduction)
                if reduction == "rate":
                    result[key] = made(values, trials["object_name"])
                elif reduction == "count":
                    result[f"{name}s"] = {o.name.lower(): int((self[name] == o).sum()) for o in Outcome}
                else:
                    result[key] = column.mean(values) if reduction == "mean" else column.median(values)
        objects = set(names)
        solved = set(names[self["stable"]])
        return {
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            **result,
            "stable_objects": len(solved) / len(objects) if objects else None,
            "num_grasps": len(self),
            "num_objects": len(objects),
            "num_not_run": int((~ran).sum()),
        }

    def measures(self) -> list[dict[str, Any]]:
        """Return what a report says of each quantity that is averaged: keys in the summary, unit and meaning."""
        return [
            {
                "keys": [column.key_of(reduction) for reduction in column.reductions],
                "label": column.name.removesuffix(f"_{column.unit.lower()}").replace("_", " "),
                "unit": column.shown_unit or column.unit,
                "help": column.help,
            }
            for column in self.columns.values()
            if "mean" in column.reductions and not column.row
        ]

    def to_json(self) -> dict[str, list[Any]]:
        """Return columns of plain values; NaN becomes null."""
        return {name: _plain(array) for name, array in self.values.items()}

    @classmethod
    def from_json(
        cls, protocol: str, protocol_hash: str, values: Mapping[str, list[Any]], extra: Sequence[Column] = ()
    ) -> "VerdictTable":
        """Read what ``to_json`` wrote."""
        whole = {name: [_number(x) for x in column] for name, column in values.items()}
        return cls.of(protocol, protocol_hash, whole, extra)


def wilson_rate(success: Bool[np.ndarray, "n"], objects: Iterable[str]) -> dict[str, Any]:
    """Return the share of successes with its 95 % Wilson interval, which takes the trials as independent."""
    trials, successes = len(success), int(success.sum())
    return {
        "value": successes / trials if trials else None,
        "successes": successes,
        "trials": trials,
        "wilson95": list(wilson_interval(successes, trials)),
    }


def _plain(column: np.ndarray) -> list[Any]:
    if np.issubdtype(column.dtype, np.floating):
        return [_plain_number(x) for x in column.tolist()]
    return column.tolist()


def _plain_number(x: Any) -> Any:
    """Return a number rounded, or None for NaN; a row of several likewise."""
    if isinstance(x, list):
        return [_plain_number(each) for each in x]
    return None if math.isnan(x) else round(x, 6)


def _number(x: Any) -> Any:
    if isinstance(x, list):
        return [_number(each) for each in x]
    return math.nan if x is None else x
