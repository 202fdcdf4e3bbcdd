"""Are points drawn where their numbers are, and names as text?"""

import re

from sceneleapultra.reporting.curves import lines, shares


def test_lines_span_the_picture_and_keep_their_order() -> None:
    picture = lines("loss", {"a<b": [(0, 1.0), (10, 3.0)], "alone": [(5, 2.0)]}, marks={"early": [(10, 1.0)]})
    (first, alone) = re.findall(r'<polyline points="([^"]+)"', picture)
    (x0, y0), (x1, y1) = (tuple(map(float, place.split(","))) for place in first.split())
    assert x0 < x1 and y0 > y1  # up is more
    x, y = map(float, alone.split(","))
    assert (x, y) == ((x0 + x1) / 2, (y0 + y1) / 2)
    (ring,) = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4"', picture)
    assert tuple(map(float, ring)) == (x1, y0)
    assert f'cx="{x:.1f}" cy="{y:.1f}" r="3"' in picture  # a line of one point is a dot
    assert "a&lt;b" in picture and "a<b" not in picture


def test_nothing_is_drawn_of_nothing_and_one_value_has_a_place() -> None:
    assert lines("loss", {"a": []}) == ""
    assert "nan" not in lines("loss", {"a": [(1, 2.0), (1, 2.0)]})


def test_bars_are_as_long_as_their_shares() -> None:
    widths = [float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', shares({"a": 0.75, "b": 0.25}))]
    assert widths[0] == 3 * widths[1] and "75 %" in shares({"a": 0.75})
