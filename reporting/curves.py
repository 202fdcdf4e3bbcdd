"""Numbers over steps, and shares of a whole, as small SVG pictures without a script."""

from collections.abc import Mapping, Sequence
from html import escape

from sceneleapultra.reporting.charts import SPLIT_COLORS

SERIES_COLORS = (*SPLIT_COLORS, "#8c1d40", "#efb13c", "#4aa3c7", "#5c4033")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 560, 240, 64, 34
_BAR = 320
Points = Sequence[tuple[float, float]]


def lines(
    title: str, series: Mapping[str, Points], *, marks: Mapping[str, Points] | None = None, x: str = "step"
) -> str:
    """Draw a line for each series of (x, y), and a ring for each point of ``marks``, with a legend.

    Args:
        title: what is drawn.
        series: points by the name of their line.
        marks: points without a line, by name.
        x: what the horizontal axis is.
    """
    marks = marks or {}
    points = [point for many in (*series.values(), *marks.values()) for point in many]
    if not points:
        return ""
    (x_low, x_high), (y_low, y_high) = (_limits([point[axis] for point in points]) for axis in (0, 1))

    def at(point: tuple[float, float]) -> tuple[float, float]:
        right = (point[0] - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - 20)
        up = (point[1] - y_low) / (y_high - y_low) * (_HEIGHT - _BOTTOM - 12)
        return _LEFT + right, _HEIGHT - _BOTTOM - up

    parts = []
    for share in (0.0, 0.5, 1.0):
        value, wide = y_low + share * (y_high - y_low), x_low + share * (x_high - x_low)
        y, column = at((x_low, value))[1], at((wide, y_low))[0]
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="label">{value:.4g}</text>')
        parts.append(f'<text x="{column:.1f}" y="{_HEIGHT - 18}" class="tick">{wide:g}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 3}" class="tick">{escape(x)}</text>')
    for i, (name, many) in enumerate(series.items()):
        places = [at(point) for point in many]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        if len(places) == 1:
            parts.append(
                f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3" fill="{_color(i)}"/>'
            )
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{_color(i)}" stroke-width="1.6">'
            f"<title>{escape(name)}</title></polyline>"
        )
    for i, (name, many) in enumerate(marks.items(), len(series)):
        parts += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="none" stroke="{_color(i)}" stroke-width="2">'
            f"<title>{escape(name)} {point[0]:g}: {point[1]:.4g}</title></circle>"
            for point in many
            for a, b in [at(point)]
        ]
    legend = " ".join(
        f'<span class="key"><i style="background:{_color(i)}"></i>{escape(name)}</span>'
        for i, name in enumerate((*series, *marks))
    )
    alternative = escape(f"{title} over {x}: {', '.join((*series, *marks))}")
    picture = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="{alternative}">'
        f"{''.join(parts)}</svg>"
    )
    return f'<h3>{escape(title)}</h3><div class="chart">{picture}</div><p class="legend">{legend}</p>'


def shares(rows: Mapping[str, float]) -> str:
    """Draw a bar for each share of a whole, by name."""
    parts = []
    for i, (name, share) in enumerate(rows.items()):
        y, width = 24 * i + 4, _BAR * share
        parts.append(f'<text x="222" y="{y + 12}" class="label">{escape(name)}</text>')
        parts.append(f'<rect x="230" y="{y}" width="{width:.1f}" height="16" fill="{SERIES_COLORS[0]}"/>')
        parts.append(f'<text x="{236 + width:.0f}" y="{y + 12}">{100 * share:.0f} %</text>')
    height = 24 * len(rows) + 8
    alternative = escape("; ".join(f"{name} {100 * share:.0f} %" for name, share in rows.items()))
    drawn = f'<svg viewBox="0 0 620 {height}" width="620" role="img" aria-label="{alternative}">'
    return f'<div class="chart">{drawn}{"".join(parts)}</svg></div>'


def _color(i: int) -> str:
    return SERIES_COLORS[i % len(SERIES_COLORS)]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
