"""Maps of heads: every point is drawn once, in the color of its value or class."""

import numpy as np

from sceneleapultra.reporting.drawing import REST, CloudView
from sceneleapultra.reporting.maps import draw_classes, draw_values


def cloud() -> CloudView:
    points = np.random.default_rng(0).uniform(-0.05, 0.05, (40, 3))
    return CloudView(points, np.arange(40) < 25, table=True)


def test_target_points_get_redder_with_their_value():
    drawing = draw_values(cloud(), np.linspace(0.0, 1.0, 40), full=0.5, caption="", detail="")
    rest, *shades = drawing.clouds
    assert rest.rgb == REST and len(rest.points) == 15
    assert sum(len(part.points) for part in shades) == 25
    heat = [part.rgb[0] - part.rgb[2] for part in shades]
    assert heat == sorted(heat)
    assert len(shades[-1].points) >= 6, "all from `full` on"
    np.testing.assert_allclose(shades[0].points[0], cloud().points[0])


def test_classes_are_told_by_color():
    label = np.arange(40) % 4
    drawing = draw_classes(cloud(), label, {0: (1, 0, 0), 2: (0, 0, 1)}, caption="", detail="")
    assert [part.rgb for part in drawing.clouds] == [(1, 0, 0), (0, 0, 1)]
    np.testing.assert_array_equal(drawing.clouds[1].points, cloud().points[label == 2])
