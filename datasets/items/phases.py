"""Phases at the start of a training whose batches hold more scenes, seen less finely: where in them a run is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from pydantic import ConfigDict


@dataclass(frozen=True, kw_only=True)
class StagePhase(ABC):
    """Steps at the start of a training; ``config/data`` says what each number means."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    key: ClassVar[str]  # of the list that it stands in

    steps: int
    batch_size: int

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{self.key}: expected {key} of at least 1, got {value}.")

    @property
    @abstractmethod
    def detail(self) -> int:
        """How finely an item is seen."""


@dataclass(frozen=True, kw_only=True)
class Phase(StagePhase):
    """Steps with smaller clouds."""

    key = "data.loading.progressive"
    points: int

    @property
    def detail(self) -> int:
        """Points of a cloud."""
        return self.points


@dataclass(frozen=True)
class Place:
    """Where the next batch of a run is.

    Attributes:
        epoch: which permutation of the items it is from.
        batch: its number in that epoch.
        left: batches until the end of the epoch, or of the phase if that comes first.
        batch_size: scenes per process.
        detail: points of a cloud, or what else phases change of items; None for the data's own.
    """

    epoch: int
    batch: int
    left: int
    batch_size: int
    detail: int | None


def place_of(
    done: int, phases: Sequence[StagePhase], *, num_items: int, world: int, batch_size: int
) -> Place:
    """Return where a run is that trained on ``done`` batches; each phase, and what follows, begins a new epoch.

    Args:
        done: batches of each process.
        phases: in their order.
        num_items: of an epoch.
        world: processes.
        batch_size: scenes per process after the last phase.
    """
    begun, epoch = 0, 0
    for phase in phases:
        length = num_items // (phase.batch_size * world)
        if done < begun + phase.steps:
            passed, batch = divmod(done - begun, length)
            left = min(length - batch, begun + phase.steps - done)
            return Place(epoch + passed, batch, left, phase.batch_size, phase.detail)
        begun += phase.steps
        epoch += -(-phase.steps // length)
    length = num_items // (batch_size * world)
    passed, batch = divmod(done - begun, length)
    return Place(epoch + passed, batch, length - batch, batch_size, None)
