from pathlib import Path

import numpy as np

from sceneleapultra.evaluation.drawing import Drawing, Surface
from sceneleapultra.evaluation.pictures import Eye, Raster, render, render_png

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
TOP = Eye(azimuth_deg=-90.0, elevation_deg=90.0, width=0.2, center=(0.0, 0.0, 0.0))


def square(side: float, z: float, rgb: tuple[float, float, float]) -> Surface:
    s = side / 2
    corners = np.array([[-s, -s, z], [s, -s, z], [s, s, z], [-s, s, z]])
    return Surface(corners, np.array([[0, 1, 2], [0, 2, 3]]), rgb, "object")


def test_the_nearer_surface_hides_the_other_whatever_the_order():
    for surfaces in ((square(0.1, 0.0, RED), square(0.04, 0.05, BLUE)),) * 2:
        for order in (1, -1):
            raster = Raster(50, TOP)
            for surface in surfaces[::order]:
                raster.surface(surface, shaded=False)
            image = raster.image()
            np.testing.assert_allclose(image[25, 25], BLUE)  # the small one above
            np.testing.assert_allclose(image[25, 16], RED)  # 36 mm left of the middle: the large one below
            np.testing.assert_allclose(image[2, 2], 1.0)  # nothing


def test_a_square_covers_its_area():
    raster = Raster(100, TOP)
    raster.surface(square(0.1, 0.0, RED), shaded=False)
    share = (raster.image()[..., 1] < 0.5).mean()
    assert abs(share - 0.25) < 0.01  # 10 cm of 20 cm, squared


def test_dots_lie_where_they_project():
    raster = Raster(100, TOP)
    raster.dots(np.array([[0.05, 0.0, 0.0]]), RED, radius_px=2.0)
    rows, columns = np.nonzero(raster.image()[..., 1] < 0.5)
    assert abs(columns.mean() - 75) < 1  # 5 cm of 20 cm right of the middle
    assert abs(rows.mean() - 50) < 1


def test_render_png(tmp_path: Path):
    drawing = Drawing(
        (square(0.05, 0.03, BLUE),), (), "a square", "with its shadow", True, -60.0, (0.0, 0.0, 0.0), 0.3
    )
    assert render(drawing, 40, Eye.of(drawing)).shape == (40, 40, 3)
    render_png(
        [drawing, drawing, drawing], tmp_path / "a" / "squares.png", columns=2, size=60, title="Squares"
    )
    assert (tmp_path / "a" / "squares.png").read_bytes().startswith(b"\x89PNG")
