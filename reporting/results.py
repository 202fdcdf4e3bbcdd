"""The measured results of a test as a report reads them: one summary for each method and split."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class Role(StrEnum):
    """What a method is in a test."""

    MODEL = "model"  # the checkpoint under test
    SELECTION = "selection"  # the best of many grasps of the checkpoint under test
    ROBUSTNESS = "robustness"  # the checkpoint under test, shown something that is wrong
    BASELINE = "baseline"


class Rate(NamedTuple):
    """A rate of a summary, and what it is called."""

    key: str
    label: str


# The rates that results are known by, the first above all.
_PICKED = (Rate("picked_cleanly", "picked cleanly"), Rate("picked", "picked"))
_STABLE = (Rate("stable", "stable"), Rate("stable_and_collision_free", "and collision-free"))


@dataclass(frozen=True)
class ResultTable:
    """The ``methods`` of results.json: summaries by method and split, in the order they were measured."""

    entries: tuple[Mapping[str, Any], ...]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ResultTable":
        """Read what results.json holds."""
        return cls(tuple(document["methods"]))

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return list(dict.fromkeys(entry["method"] for entry in self.entries))

    @property
    def splits(self) -> list[str]:
        """Names of the splits."""
        return list(dict.fromkeys(entry["split"] for entry in self.entries))

    @property
    def headline(self) -> tuple[Rate, Rate]:
        """Return the rates that results of this protocol are known by."""
        return _PICKED if all("picked_cleanly" in entry["summary"] for entry in self.entries) else _STABLE

    def summary(self, method: str, split: str) -> Mapping[str, Any] | None:
        """Return what was measured of a method on a split; None where it was not tested."""
        found = [e["summary"] for e in self.entries if (e["method"], e["split"]) == (method, split)]
        return found[0] if found else None

    def of_split(self, split: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Return (method, summary) of every method tested on a split."""
        return [(entry["method"], entry["summary"]) for entry in self.entries if entry["split"] == split]

    def measures(self, split: str) -> list[Mapping[str, Any]]:
        """Return every quantity that was averaged on a split: its ``keys`` in a summary, label, unit and help."""
        found = {m["keys"][0]: m for e in self.entries if e["split"] == split for m in e["measures"]}
        return list(found.values())

    def role(self, method: str) -> Role:
        """Return what a method is in the test."""
        return Role(self._first(method)["role"])

    def privileged_inputs(self, method: str) -> str:
        """Return what a method knows of a test item."""
        return str(self._first(method)["privileged_inputs"])

    def _first(self, method: str) -> Mapping[str, Any]:
        return next(entry for entry in self.entries if entry["method"] == method)
