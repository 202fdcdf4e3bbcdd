"""Charts as small SVG pictures without a script."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

OUTCOME_COLORS = {
    "success": "#339e54",
    "pregrasp_penetration": "#c7292e",
    "self_penetration": "#8c1d40",
    "moved_in_squeeze": "#e06b21",
    "slipped": "#efb13c",
    "no_contact": "#9aa0a8",
    "scene_collision": "#7a5ea8",
    "not_run": "#333333",
    "claimed": "#4aa3c7",
    "start_blocked": "#5c4033",
    "table_force": "#8d6e63",
    "neighbor_force": "#9c27b0",
    "neighbor_shoved": "#d16ba5",
    "target_shoved": "#e06b21",
    "fingers_on_table": "#bf8f4d",
    "not_lifted": "#607d8b",
}
SPLIT_COLORS = ("#2a6fb5", "#b5532a", "#3c8f5a", "#7a5ea8")
_MARGIN = 30  # half of "100 %", as large as it is written on a narrow screen
_PLOT = 520
_BARS = 24


def forest(rows: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], names: Sequence[str]) -> str:
    """Draw rates with their intervals: one band per label, under it; one mark per name (split or method) in it.

    Each rate is a mapping with ``value``, ``wilson95`` and ``by_object95`` (thin line), or empty where there is none.
    """
    step = 14 * len(names) + 26
    height = step * len(rows) + 30
    parts, tips = [_axis(height - 24)], []
    for i, (label, rates) in enumerate(rows):
        top = i * step + 18
        parts.append(f'<text x="{_x(0.0)}" y="{top - 4}" class="name">{escape(label)}</text>')
        for j, rate in enumerate(rates):
            if not rate or rate["value"] is None:
                continue
            y, color = top + 14 * j + 9, SPLIT_COLORS[j % len(SPLIT_COLORS)]
            low, high = (_x(v) for v in rate["wilson95"])
            wide_low, wide_high = (_x(v) for v in rate["by_object95"])
            tip = f"{label}, {names[j]}: {percent(rate)} of {rate['trials']} grasps"
            tips.append(tip)
            parts.append(
                f'<g stroke="{color}"><title>{escape(tip)}</title>'
                f'<line x1="{wide_low:.1f}" x2="{wide_high:.1f}" y1="{y}" y2="{y}" stroke-width="1"/>'
                f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke-width="5" stroke-opacity="0.45"/>'
                f'<circle cx="{_x(rate["value"]):.1f}" cy="{y}" r="4" fill="{color}"/></g>'
            )
    legend = " ".join(
        f'<span class="key"><i style="background:{SPLIT_COLORS[j % len(SPLIT_COLORS)]}"></i>{escape(name)}</span>'
        for j, name in enumerate(names)
    )
    return _svg(height, parts, "; ".join(tips)) + f'<p class="legend">{legend}</p>'


def outcome_bars(rows: Sequence[tuple[str, Mapping[str, int]]]) -> str:
    """Draw how the grasps of each method ended, as shares of one bar."""
    height = 42 * len(rows) + 30
    parts, tips = [_axis(height - 24)], []
    for i, (label, outcomes) in enumerate(rows):
        y, total, left = 42 * i + 20, sum(outcomes.values()), 0.0
        parts.append(f'<text x="{_x(0.0)}" y="{y - 5}" class="name">{escape(label)}</text>')
        for name, count in outcomes.items():
            share = count / total if total else 0.0
            tip = f"{label}: {name.replace('_', ' ')} {count} of {total} ({100 * share:.1f} %)"
            tips.append(tip)
            parts.append(
                f'<rect x="{_x(left):.1f}" y="{y}" width="{_PLOT * share:.2f}" height="18" '
                f'fill="{OUTCOME_COLORS[name]}"><title>{escape(tip)}</title></rect>'
            )
            left += share
    legend = " ".join(
        f'<span class="key"><i style="background:{color}"></i>{escape(name.replace("_", " "))}</span>'
        for name, color in OUTCOME_COLORS.items()
        if any(outcomes.get(name) for _, outcomes in rows)
    )
    return _svg(height, parts, "; ".join(tips)) + f'<p class="legend">{legend}</p>'


def curve(points: Sequence[Mapping[str, Any]], *, x: str, chosen: float, other: str, other_label: str) -> str:
    """Draw a success rate against a setting, with its interval, and ``other``, scaled to its maximum."""
    width, height, left, bottom = 560, 240, 60, 36
    xs = [float(p[x]) for p in points]
    low, high = min(xs), max(xs)
    span = (high - low) or 1.0
    top_rate = max(0.1, *(p["stable"]["wilson95"][1] for p in points))
    top_other = max((p[other] or 0.0) for p in points) or 1.0

    def at(value: float) -> float:
        return left + (value - low) / span * (width - left - 60)

    def up(share: float) -> float:
        return height - bottom - share * (height - bottom - 14)

    parts = [f'<line x1="{left}" x2="{width - 50}" y1="{up(0)}" y2="{up(0)}" class="grid"/>']
    for tick in (0.0, 0.5, 1.0):
        label = f"{100 * tick * top_rate:.0f} %"
        parts.append(f'<text x="{left - 6}" y="{up(tick) + 4:.0f}" class="label">{label}</text>')
    line, second, tips = [], [], []
    for p, value in zip(points, xs, strict=True):
        rate = p["stable"]
        a, b = (up(v / top_rate) for v in rate["wilson95"])
        y = up((rate["value"] or 0.0) / top_rate)
        line.append(f"{at(value):.1f},{y:.1f}")
        second.append(f"{at(value):.1f},{up((p[other] or 0.0) / top_other):.1f}")
        fill = "#2a6fb5" if value == chosen else "#ffffff"
        tips.append(f"{x} {value:g}: {percent(rate)}")
        parts.append(
            f'<g stroke="#2a6fb5"><title>{escape(tips[-1])}</title>'
            f'<line x1="{at(value):.1f}" x2="{at(value):.1f}" y1="{a:.1f}" y2="{b:.1f}" stroke-width="2"/>'
            f'<circle cx="{at(value):.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke-width="2"/></g>'
            f'<text x="{at(value):.1f}" y="{height - 16}" class="tick">{value:g}</text>'
        )
    parts.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="#2a6fb5" stroke-width="1.5"/>')
    parts.append(
        f'<polyline points="{" ".join(second)}" fill="none" stroke="#b5532a" stroke-dasharray="5 4">'
        f"<title>{escape(other_label)}, at most {top_other:.3g}</title></polyline>"
    )
    parts.append(f'<text x="{(left + width) / 2:.0f}" y="{height - 2}" class="tick">{escape(x)}</text>')
    keys = (
        ("#2a6fb5", "success on validation objects"),
        ("#b5532a", f"{other_label} (largest {top_other:.3g})"),
    )
    legend = " ".join(f'<span class="key"><i style="background:{c}"></i>{escape(t)}</span>' for c, t in keys)
    return _svg(height, parts, "; ".join(tips), width) + f'<p class="legend">{legend}</p>'


def histogram(values: Float[np.ndarray, "n"], title: str, limits: tuple[float, float]) -> str:
    """Draw a histogram as a card; values beyond the limits count at the ends."""
    low, high = limits
    counts, edges = np.histogram(np.clip(values, low, high), bins=_BARS, range=limits)
    width, height, top = 240, 70, max(1, counts.max())
    bars = []
    for k, n in enumerate(counts):
        tip = f"{_short(edges[k])} to {_short(edges[k + 1])}: {n}"
        bars.append(
            f'<rect x="{k * width / _BARS:.1f}" y="{height * (1 - n / top):.1f}" width="{width / _BARS - 1:.1f}" '
            f'height="{height * n / top:.1f}" fill="#2a6fb5"><title>{tip}</title></rect>'
        )
    ticks = (
        f'<text x="0" y="{height + 14}">{_short(low)}</text>'
        f'<text x="{width}" y="{height + 14}" text-anchor="end">{_short(high)}</text>'
    )
    median = f"median {_short(np.median(values))}" if len(values) else "no values"
    alternative = escape(f"{title}, from {_short(low)} to {_short(high)}: {median}")
    return (
        f'<div class="card"><svg viewBox="-4 -4 {width + 8} {height + 24}" role="img" aria-label="{alternative}">'
        f"{''.join(bars)}{ticks}</svg>"
        f"<p>{escape(title)}<br><small>{len(values)} values, {median}</small></p></div>"
    )


def percent(rate: Mapping[str, Any]) -> str:
    """Write a rate with its Wilson interval, in percent."""
    if not rate or rate["value"] is None:
        return "-"
    low, high = rate["wilson95"]
    return f"{100 * rate['value']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _x(share: float) -> float:
    return _MARGIN + _PLOT * share


def _axis(bottom: int) -> str:
    marks = []
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        marks.append(f'<line x1="{x}" x2="{x}" y1="0" y2="{bottom}" class="grid"/>')
        marks.append(f'<text x="{x}" y="{bottom + 16}" class="tick">{tick} %</text>')
    return "".join(marks)


def _svg(height: int, parts: Sequence[str], alternative: str, width: int = 2 * _MARGIN + _PLOT) -> str:
    """Put a chart together; ``alternative`` is what it says to those who do not see it."""
    return (
        f'<div class="chart"><svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{escape(alternative)}">{"".join(parts)}</svg></div>'
    )
