"""The report of a test: one HTML file without outside references, made of sections that the configuration lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sceneleapultra.reporting.drawing import Drawing
from sceneleapultra.reporting.html import cards, write_page
from sceneleapultra.reporting.results import ResultTable


@dataclass(frozen=True)
class Gallery:
    """Drawings of grasps under one heading."""

    heading: str
    drawings: tuple[Drawing, ...]
    stable: bool  # whether these grasps held their objects


@dataclass
class ReportContext:
    """What a section may show beside the results; it numbers the drawings of the page.

    Attributes:
        provenance: command, commit, data, model and configuration of the test, see results.json.
        tuning: curve and choice of the temperature; None where nothing was tuned.
        galleries: drawings of tested grasps.
        drawings: those that sections have shown so far.
    """

    provenance: Mapping[str, Any]
    tuning: Mapping[str, Any] | None
    galleries: Sequence[Gallery]
    drawings: list[Drawing] = field(default_factory=list)

    def show(self, drawings: Sequence[Drawing]) -> str:
        """Add drawings to the page; return their cards."""
        html = cards(drawings, first=len(self.drawings))
        self.drawings += drawings
        return html


@runtime_checkable
class ReportSection(Protocol):
    """A part of the report. A class of your own becomes one by ``+report.<name>._target_=<its import path>``."""

    @property
    def title(self) -> str:
        """Heading of the section."""
        ...

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return the section's HTML without its heading; an empty string leaves the section out."""
        ...


def write_report(
    document: Mapping[str, Any],
    galleries: Sequence[Gallery],
    sections: Sequence[ReportSection],
    path: str | Path,
) -> Path:
    """Write the report of a test.

    Args:
        document: what results.json holds: ``provenance``, ``methods``, ``tuning``.
        galleries: drawings of tested grasps.
        sections: the parts of the report, in order.
        path: the HTML file.
    """
    results = ResultTable.from_document(document)
    context = ReportContext(document["provenance"], document["tuning"], galleries)
    title = document["provenance"]["title"]
    body = [f'<p class="lead">{escape(document["provenance"]["sentence"])}</p>']
    for section in sections:
        if html := section.render(results, context):
            body += [f"<h2>{escape(section.title)}</h2>", html]
    return write_page(title, body, context.drawings, path)
