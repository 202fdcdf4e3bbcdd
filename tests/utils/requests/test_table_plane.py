"""Is the table found, and up with it, in clutter and with a floor beyond; and refused where nothing is a table?"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from factories.camera_view import TWO, camera_view
from sceneleapultra.utils.requests.table_plane import NoTableError, fit_table

EYE = np.zeros(3)


def valid(points: np.ndarray) -> np.ndarray:
    flat = points.reshape(-1, 3)
    return flat[np.isfinite(flat).all(-1) & (np.linalg.norm(flat, axis=1) < 2.0)]


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1.0, 1.0))))


@pytest.mark.parametrize("tilt_deg", [20.0, 30.0, 45.0, 70.0, 89.0])
def test_up_is_measured_through_clutter(tilt_deg: float) -> None:
    view = camera_view(TWO, tilt_deg=tilt_deg, noise_m=0.002)
    table = fit_table(valid(view.points), EYE)
    assert degrees(table.up, view.up) < 0.5
    assert table.height_of(EYE) == pytest.approx(view.height_m, abs=0.003)
    assert 0.0005 < table.spread_m < 0.003


def test_the_same_cloud_gives_the_same_plane_bit_for_bit() -> None:
    points = valid(camera_view(TWO).points)
    one, two = fit_table(points, EYE), fit_table(points.copy(), EYE)
    np.testing.assert_array_equal(one.up, two.up)
    assert one.height == two.height


def test_map_coordinates_change_the_height_alone() -> None:
    points, offset = valid(camera_view(TWO).points), np.array([431234.0, 5821234.0, 50.0])
    here, there = fit_table(points, EYE), fit_table(points + offset, offset)
    assert_allclose(there.up, here.up, atol=1e-7)
    assert_allclose(there.heights(points + offset), here.heights(points), atol=1e-6)


def test_the_table_and_not_the_floor_under_it() -> None:
    view = camera_view(tilt_deg=25.0, distance_m=1.1)
    points = valid(view.points)
    below = (points @ view.up + view.height_m) < -0.5
    assert below.mean() > 0.2, "much of the floor is seen"
    assert fit_table(points, EYE).height_of(EYE) == pytest.approx(view.height_m, abs=0.003)


def test_no_plane_dominates_a_heap() -> None:
    rng = np.random.default_rng(0)
    heap = rng.normal(size=(5000, 3)) * 0.2 + [0.0, 0.0, 0.8]
    with pytest.raises(
        NoTableError, match=r"no plane dominates this view.*the largest holds \d+ %.*--up X Y Z"
    ):
        fit_table(heap, EYE)


def test_two_planes_are_two_answers() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-0.3, 0.3, (2, 4000, 2))
    table = np.c_[a[:, 0], np.full(4000, 0.3), a[:, 1] + 0.8]
    wall = np.c_[b[:, 0], b[:, 1], np.full(4000, 1.1)]
    with pytest.raises(
        NoTableError, match=r"two planes could be the table.*--up .* for the first, --up .* for the second"
    ):
        fit_table(np.concatenate([table, wall]), EYE)


def test_a_handful_of_points_is_no_table() -> None:
    with pytest.raises(NoTableError, match="cover 1 cells of 1 cm, which is too few"):
        fit_table(np.full((500, 3), 0.5), EYE)
