"""What is looked at: one cloud, the scene it shows where that is known, and the grasps that methods made for it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sceneleapultra.evaluation.items import Item
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.drawing import Rgb, outcome_color
from sceneleapultra.simulation.protocols import Protocol
from sceneleapultra.utils.records import Grasps, Outcome
from sceneleapultra.utils.requests import GraspRequest


@dataclass(frozen=True)
class Candidates:
    """Grasps of one method, the best first.

    Attributes:
        grasps: in the frame of the subject's request.
        colors: of each hand.
        outcomes: how each ended, in words; empty where it was not tried.
        details: what else is known of each: name and value.
    """

    grasps: Grasps
    colors: list[Rgb]
    outcomes: list[str]
    details: list[dict[str, str]]

    @classmethod
    def of_verdicts(
        cls, grasps: Grasps, outcomes: Iterable[int], free: Iterable[Any], details: list[dict[str, str]]
    ) -> "Candidates":
        """Take grasps that were put through a protocol; ``free``: table and neighbors were spared."""
        ended = [Outcome(int(outcome)) for outcome in outcomes]
        return cls(
            grasps,
            [outcome_color(outcome, bool(spared)) for outcome, spared in zip(ended, free, strict=True)],
            [outcome.name.lower().replace("_", " ") for outcome in ended],
            details,
        )


@dataclass(frozen=True)
class Subject:
    """One thing to look at; ``item`` is its true scene, None where nobody knows it."""

    caption: str
    request: GraspRequest
    item: Item | None
    candidates: dict[str, Candidates]


@dataclass(frozen=True)
class Rules:
    """By what a grasp of a catalog is tried again, and what samples for it.

    Attributes:
        protocol: None where the catalog names none that can be run.
        why_not: the sentence in that case.
        checkpoint: of the model that samples step by step.
        sampling: changes of its own sampling.
    """

    protocol: Protocol | None
    why_not: str
    checkpoint: str
    sampling: dict[str, Any] = field(default_factory=dict)


class Catalog(ABC):
    """A file that can be looked at."""

    path: Path
    title: str
    hand: Hand
    rules: Rules

    @abstractmethod
    def __len__(self) -> int:
        """Return how many subjects it has."""

    @abstractmethod
    def read(self, number: int) -> Subject:
        """Read one of them."""
