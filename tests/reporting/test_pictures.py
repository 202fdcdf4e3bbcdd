from pathlib import Path

import numpy as np

from sceneleapultra.reporting.drawing import ColoredMesh, Drawing
from sceneleapultra.reporting.pictures import Raster, Viewpoint, render, render_png

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
TOP = Viewpoint(azimuth_deg=-90.0, elevation_deg=90.0, width=0.2, center=(0.0, 0.0, 0.0))


def square(side: float, z: float, rgb: tuple[float, float, float]) -> ColoredMesh:
    s = side / 2
    corners = np.array([[-s, -s, z], [s, -s, z], [s, s, z], [-s, s, z]])
    return ColoredMesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), rgb, "object")


def test_the_nearer_surface_hides_the_other_whatever_the_order():
    for meshes in ((square(0.1, 0.0, RED), square(0.04, 0.05, BLUE)),) * 2:
        for order in (1, -1):
            raster = Raster(50, TOP)
            for mesh in meshes[::order]:
                raster.mesh(mesh, shaded=False)
            image = raster.image()
            np.testing.assert_allclose(image[25, 25], BLUE)  # the small one above
            np.testing.assert_allclose(image[25, 16], RED)  # 36 mm left of the middle: the large one below
            np.testing.assert_allclose(image[2, 2], 1.0)  # nothing


def test_a_square_covers_its_area():
    raster = Raster(100, TOP)
    raster.mesh(square(0.1, 0.0, RED), shaded=False)
    share = (raster.image()[..., 1] < 0.5).mean()
    assert abs(share - 0.25) < 0.01  # 10 cm of 20 cm, squared


def test_dots_lie_where_they_project():
    raster = Raster(100, TOP)
    raster.points(np.array([[0.05, 0.0, 0.0]]), RED, radius_px=2.0)
    rows, columns = np.nonzero(raster.image()[..., 1] < 0.5)
    assert abs(columns.mean() - 75) < 1  # 5 cm of 20 cm right of the middle
    assert abs(rows.mean() - 50) < 1


def test_render_png(tmp_path: Path):
    drawing = Drawing(
        (square(0.05, 0.03, BLUE),), (), "a square", "with its shadow", True, -60.0, (0.0, 0.0, 0.0), 0.3
    )
    assert render(drawing, 40, Viewpoint.of(drawing)).shape == (40, 40, 3)
    render_png(
        [drawing, drawing, drawing], tmp_path / "a" / "squares.png", columns=2, size=60, title="Squares"
    )
    assert (tmp_path / "a" / "squares.png").read_bytes().startswith(b"\x89PNG")
