"""What differs between runs, as text and as a page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from sceneleapultra.reporting.charts import forest, percent
from sceneleapultra.reporting.curves import Points, lines
from sceneleapultra.reporting.html import table, write_page


@dataclass(frozen=True)
class Difference:
    """How much a rate of a run is above that of the first run, with the 95 % interval over objects."""

    value: float
    interval: tuple[float, float]

    @property
    def shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval[0] > 0 or self.interval[1] < 0

    def __str__(self) -> str:
        low, high = self.interval
        verdict = "differs" if self.shown else "no difference shown"
        return f"{100 * self.value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]: {verdict}"


@dataclass(frozen=True)
class ComparedRate:
    """A success rate of every run, and what each is above the first."""

    label: str
    rates: tuple[Mapping[str, Any], ...]
    differences: tuple[Difference, ...]  # of the second run and those after it


@dataclass(frozen=True)
class ComparedTest:
    """One test that every run had: the same items by the same protocol."""

    protocol: str
    split: str
    objects: int
    grasps: int
    rates: tuple[ComparedRate, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: their names; the first is what the others are compared with.
        lineage: data and code of each, by what it is.
        settings: values of each run, by the key of a setting that is not the same in all.
        curves: points of each run, by the name of the number.
        tests: what all were tested by.
    """

    runs: tuple[str, ...]
    lineage: Mapping[str, Sequence[str]]
    settings: Mapping[str, Sequence[str]]
    curves: Mapping[str, Mapping[str, Points]]
    tests: Sequence[ComparedTest]

    def text(self) -> Iterator[str]:
        """Yield the lines of a terminal."""
        for what, values in self.lineage.items():
            yield from self._differing(what, values)
        yield f"settings: {len(self.settings) or 'none'} differ"
        for key, values in self.settings.items():
            yield from self._differing(f"  {key}", values)
        for name, by_run in self.curves.items():
            if name.startswith("val/"):
                last = (
                    f"{run} {points[-1][1]:.4g} (step {points[-1][0]:g})" for run, points in by_run.items()
                )
                yield f"{name}, last: {', '.join(last)}"
        if not self.tests:
            yield "success: no test that all runs had; python test_lightning.py checkpoint=<run>/checkpoints/best.ckpt"
        for test in self.tests:
            yield f"{test.protocol}, {test.split}: {test.grasps} grasps of {test.objects} objects each"
            for rate in test.rates:
                yield f"  {rate.label}: {self.runs[0]} {percent(rate.rates[0])}"
                for run, one, difference in zip(self.runs[1:], rate.rates[1:], rate.differences, strict=True):
                    yield f"  {rate.label}: {run} {percent(one)}, by object {difference}"

    def write_page(self, path: Path) -> Path:
        """Write the page."""
        lineage = [(what, *values) for what, values in self.lineage.items()]
        settings = [(key, *values) for key, values in self.settings.items()]
        body = [table(("", *self.runs), lineage), "<h2>Settings</h2>"]
        body.append(table(("differs", *self.runs), settings) if settings else "<p>All are the same.</p>")
        body.append("<h2>Success</h2>")
        for test in self.tests:
            about = f"{test.protocol}, {test.split}: {test.grasps} grasps of {test.objects} objects, the same for each"
            rows = [
                (rate.label, *map(percent, rate.rates), *map(str, rate.differences)) for rate in test.rates
            ]
            above = (f"{run} above {self.runs[0]}, % by object" for run in self.runs[1:])
            body += [
                f"<h3>{escape(about)}</h3>",
                table(("", *self.runs, *above), rows),
                forest([(rate.label, rate.rates) for rate in test.rates], self.runs),
            ]
        if not self.tests:
            body.append("<p>There is no test that all runs had.</p>")
        body.append("<h2>Curves</h2>")
        body += [lines(name, by_run) for name, by_run in sorted(self.curves.items(), key=_losses_first)]
        return write_page(f"Runs compared: {', '.join(self.runs)}", body, [], path)

    def _differing(self, what: str, values: Sequence[str]) -> Iterator[str]:
        if len(set(values)) == 1:
            yield f"{what}: {values[0]}, the same"
        else:
            yield f"{what}: {'; '.join(f'{run} {value}' for run, value in zip(self.runs, values, strict=True))}"


def _losses_first(entry: tuple[str, Mapping[str, Points]]) -> tuple[bool, str]:
    return not entry[0].endswith("/loss"), entry[0]
