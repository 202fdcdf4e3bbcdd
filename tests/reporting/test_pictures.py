from pathlib import Path

import numpy as np
import trimesh

from sceneleapultra.reporting.drawing import ColoredMesh, Drawing
from sceneleapultra.reporting.pictures import Raster, Viewpoint, corner_normals, render, render_png

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


def test_a_ball_is_shaded_smoothly_and_a_box_is_not():
    ball = trimesh.creation.icosphere(subdivisions=3)
    outward = ball.vertices[ball.faces]
    assert (corner_normals(ball.vertices, ball.faces) * outward).sum(-1).min() > 0.999
    box = trimesh.creation.box()
    np.testing.assert_allclose(corner_normals(box.vertices, box.faces)[:, 0], box.face_normals, atol=1e-12)
    tube = trimesh.creation.cylinder(radius=1.0, height=1.0, sections=24)
    side = np.abs(tube.face_normals[:, 2]) < 0.5
    radial = tube.vertices[tube.faces][side] * [1.0, 1.0, 0.0]
    assert (corner_normals(tube.vertices, tube.faces)[side] * radial).sum(
        -1
    ).min() > 0.999  # its rims are edges


def test_a_shadow_lies_away_from_the_light_and_the_far_table_stays_light():
    slab = square(0.04, 0.05, BLUE)
    drawing = Drawing((slab,), (), "", "", True, -90.0, (0.0, 0.0, 0.0), 0.2)
    with_slab = render(drawing, 100, TOP)
    bare = render(Drawing((), (), "", "", True, -90.0, (0.0, 0.0, 0.0), 0.2), 100, TOP)
    # Light comes from (0.35, -0.45, 0.82): 5 cm below the slab its shadow is 2.1 cm to -x and 2.7 cm to +y.
    assert with_slab[50 - 14, 50 - 11].mean() < 0.85 * bare[50 - 14, 50 - 11].mean()
    np.testing.assert_allclose(with_slab[90, 90], bare[90, 90])


def test_a_wide_picture_shows_the_same_middle():
    raster = Raster((120, 80), TOP)
    raster.mesh(square(0.1, 0.0, RED), shaded=False)
    image = raster.image()
    assert image.shape == (80, 120, 3)
    assert abs((image[..., 1] < 0.5).sum() - 60 * 60) < 250  # 10 cm of 20 cm are 60 of 120 columns


def test_what_lies_behind_is_darkened_beside_what_is_before_it():
    raster = Raster(100, TOP)
    raster.mesh(square(0.18, 0.0, RED), shaded=False)
    raster.mesh(square(0.05, 0.04, BLUE), shaded=False)
    raster.darken_behind(np.isfinite(raster.depth))
    image = raster.image()
    assert image[50, 50 - 14, 0] < 0.95 < image[50, 12, 0]
    np.testing.assert_allclose(image[50, 50], BLUE)
