"""The sections of a test's report; ``config/report/default.yaml`` lists them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from sceneleapultra.reporting.charts import curve, forest, outcome_bars, percent
from sceneleapultra.reporting.html import legend, table
from sceneleapultra.reporting.report import ReportContext
from sceneleapultra.reporting.results import ResultTable, Role

_DEFINITIONS = """
<b>Stable</b>: the hand held the object through the whole protocol. <b>Collision-free</b>: it touched neither the table
nor a neighboring object. <b>Picked</b>: lifted out of its scene and held; <b>cleanly</b>: neither table nor neighbors
were pressed or shoved more than the protocol allows. Brackets and thick bars: 95 % Wilson interval, which takes grasps
as independent; thin bars: 95 % interval over objects (whole objects drawn with replacement), wider because grasps of
one object fail together. <b>Diversity</b>: spread of an item's grasps in the frame of its object (standard deviation of
the position, mean angle between pairs, standard deviation of the joints), averaged over items. Grasps whose simulation
diverged are no trials and are counted as not run.
"""


@dataclass(frozen=True, kw_only=True)
class SuccessRates:
    """Success of every method on every split, as a table and as a chart with intervals."""

    title: str

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return table, chart and definitions."""
        rates, key = [], results.headline[0].key
        for method in results.methods:
            found = [results.summary(method, split) for split in results.splits]
            rates.append((method, [summary[key] if summary else {} for summary in found]))
        return (
            self._table(results)
            + forest(rates, results.splits)
            + f"<details><summary>What the numbers mean</summary><p>{_DEFINITIONS}</p></details>"
        )

    def _table(self, results: ResultTable) -> str:
        head = "".join(
            f"<th>{escape(s)}: {rate.label}</th>" for s in results.splits for rate in results.headline
        )
        rows = []
        for method in results.methods:
            cells = []
            for split in results.splits:
                summary = results.summary(method, split)
                for rate in results.headline:
                    shown = percent(summary[rate.key]) if summary else "-"
                    cells.append(f'<td class="number">{shown}</td>')
            mark = "" if results.role(method) is Role.BASELINE else ' class="tested"'
            inputs = escape(results.privileged_inputs(method))
            name = f"{escape(method)}<small>given: {inputs}</small>"
            rows.append(f"<tr{mark}><td>{name}</td>{''.join(cells)}</tr>")
        return f"<table><tr><th>method</th>{head}</tr>{''.join(rows)}</table>"


@dataclass(frozen=True, kw_only=True)
class Galleries:
    """3D views of tested grasps."""

    title: str

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return one grid of views for each gallery."""
        parts = [f"<h3>{escape(g.heading)}</h3>{context.show(g.drawings)}" for g in context.galleries]
        lifted = results.headline[0].key == "picked_cleanly"
        return legend("lifted" if lifted else "held") + "".join(parts) if parts else ""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Penetration, contacts and diversity of every method."""

    title: str

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return one table for each split."""
        return _by_split(results, lambda split: self._table(results, split))

    def _table(self, results: ResultTable, split: str) -> str:
        measures = results.measures(split)
        headings = (
            "method",
            *(escape(_heading(measure)) for measure in measures),
            "diversity: mm / ° / rad",
            "of stable grasps",
            "objects with a stable grasp",
            "grasps / objects",
            "not run",
        )
        rows = [(m, *self._cells(summary, measures)) for m, summary in results.of_split(split)]
        meanings = " ".join(f"<b>{escape(m['label'])}</b>: {escape(m['help'])}" for m in measures)
        return f'{table(headings, rows)}<p class="legend">{meanings}</p>'

    def _cells(self, s: Mapping[str, Any], measures: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        return (
            *(_measured(s, measure["keys"]) for measure in measures),
            _spread(s["diversity"]),
            _spread(s["diversity_of_stable"]),
            _number(s["stable_objects"], 100.0, " %"),
            f"{s['num_grasps']} / {s['num_objects']}",
            str(s["num_not_run"]),
        )


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """How many grasps of each method ended in which way."""

    title: str

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return one chart for each split."""
        return _by_split(
            results,
            lambda split: outcome_bars([(m, s["outcomes"]) for m, s in results.of_split(split)]),
        )


@dataclass(frozen=True, kw_only=True)
class Families:
    """Success by family of objects, for chosen methods.

    Attributes:
        methods: names of the methods; those that were not tested are left out.
        title: heading.
    """

    methods: tuple[str, ...]
    title: str

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return one chart for each split."""
        return _by_split(results, lambda split: self._chart(dict(results.of_split(split))))

    def _chart(self, summaries: Mapping[str, Mapping[str, Any]]) -> str:
        shown = [method for method in self.methods if method in summaries]
        names = sorted({family for method in shown for family in summaries[method]["families"]})
        rates = [(name, [summaries[m]["families"].get(name, {}) for m in shown]) for name in names]
        return forest(rates, shown)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Success on validation objects against the temperature of the initial noise."""

    title: str

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return sentence and curve; nothing where the temperature was given."""
        if context.tuning is None:
            return ""
        chart = curve(
            context.tuning["curve"],
            x="temperature",
            chosen=context.tuning["temperature"],
            other="joint_spread_rad",
            other_label="spread of the joints, rad",
        )
        return f"<p>{escape(context.tuning['sentence'])}</p>{chart}"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Command, commit, data, model, protocol and configuration: what repeats the test."""

    title: str

    def render(self, results: ResultTable, context: ReportContext) -> str:
        """Return a table of facts and the configuration."""
        facts = {k: v for k, v in context.provenance.items() if k not in ("title", "sentence", "config")}
        rows = "".join(
            f"<tr><td>{escape(k)}</td><td><code>{escape(_in_words(v))}</code></td></tr>"
            for k, v in facts.items()
        )
        config = escape(json.dumps(context.provenance["config"], indent=2))
        return f"<table>{rows}</table><details><summary>Configuration</summary><pre>{config}</pre></details>"


def _in_words(fact: Any) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{name} {value}" for name, value in fact.items())
    return str(fact)


def _by_split(results: ResultTable, render: Callable[[str], str]) -> str:
    return "".join(f"<h3>{escape(split)}</h3>{render(split)}" for split in results.splits)


def _heading(measure: Mapping[str, Any]) -> str:
    several = (
        f" ({', '.join(key.rsplit('_', 1)[1] for key in measure['keys'][1:])})" if measure["keys"][1:] else ""
    )
    return f"{measure['label']} {measure['unit']}".strip() + several


def _measured(summary: Mapping[str, Any], keys: Sequence[str]) -> str:
    first, *others = (_number(summary[key]) if key in summary else "-" for key in keys)
    return first + (f" ({', '.join(others)})" if others else "")


def _spread(values: Mapping[str, float | None]) -> str:
    translation, rotation = _number(values["translation_mm"]), _number(values["rotation_deg"])
    return f"{translation} / {rotation} / {_number(values['joints_rad'], digits=2)}"


def _number(value: float | None, scale: float = 1.0, unit: str = "", digits: int = 1) -> str:
    return "-" if value is None else f"{scale * value:.{digits}f}{unit}"
