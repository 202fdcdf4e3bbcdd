"""How the stages of one process are timed, at the cost of two looks at the clock each; switched off, of nothing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

# What a loading process does for a batch. Stages follow each other and never nest; "data.total" is all of it.
DATA_STAGES = (
    "data.open",
    "data.read_scene",
    "data.read_grasps",
    "data.sample_grasps",
    "data.transform",
    "data.augment",
    "data.total",
)


@dataclass(frozen=True)
class LoadRecord:
    """What a loading process measured while it made a batch."""

    seconds: tuple[float, ...]  # of each of DATA_STAGES
    hits: int  # answers of its memory
    misses: int  # of those the store answered
    mapped: int  # bytes from memory maps
    decoded: int  # bytes through HDF5
    fetched: int  # bytes of both that came from storage; the rest was in the page cache


class StageClock:
    """Adds up the seconds of each stage between two readings.

    ``with clock("data.augment"): …``. Entering and leaving a clock that is off does nothing.
    """

    def __init__(self, names: Sequence[str], *, on: bool) -> None:
        self.on = on
        self._seconds = dict.fromkeys(names, 0.0)
        self._stages: dict[str, _Stage | _Nothing] = {
            name: _Stage(self._seconds, name) if on else _NOTHING for name in names
        }

    def __call__(self, name: str) -> "_Stage | _Nothing":
        """Return a stage to enter.

        Raises:
            KeyError: a stage the clock was not made for.
        """
        return self._stages[name]

    def take(self) -> tuple[float, ...]:
        """Return the seconds of all stages since the last reading, in the order of their names."""
        taken = tuple(self._seconds.values())
        for name in self._seconds:
            self._seconds[name] = 0.0
        return taken


class _Stage:
    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name, self._start = seconds, name, 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds[self._name] += time.perf_counter() - self._start


class _Nothing:
    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


_NOTHING = _Nothing()
