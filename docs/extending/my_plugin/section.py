"""A section of the report: which method holds most often."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from sceneleapultra.reporting.report import ReportContext
from sceneleapultra.reporting.results import ResultTable


@dataclass(frozen=True, kw_only=True)
class Winner:
    """One line for each split."""

    title: str

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return the section's HTML."""
        rows = [max(results.of_split(split), key=_rate) for split in results.splits]
        named = zip(results.splits, rows, strict=True)
        return "".join(f"<p>{escape(split)}: {escape(method)}</p>" for split, (method, _) in named)


def _rate(row: tuple[str, Mapping[str, Any]]) -> float:
    return row[1]["stable"]["value"] or 0.0
