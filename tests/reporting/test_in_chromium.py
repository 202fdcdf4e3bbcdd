"""Pages in a real browser: a replay moves bodies as far as it says, on a phone, in the dark, and without WebGL."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

pytest.importorskip("playwright", reason="playwright is not installed")

from factories.chromium import CHROMIUM, browser_page, pixels
from sceneleapultra.reporting.charts import forest
from sceneleapultra.reporting.drawing import ColoredMesh, Drawing, Replay
from sceneleapultra.reporting.html import cards, legend, table, write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
ROD = trimesh.creation.box((0.10, 0.02, 0.02))
RED = (0.9, 0.05, 0.05)
LIFT_M, WIDTH_M = 0.05, 0.4
STILL, LIFTED, TURNED = range(3)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rod along x in its first frame, higher in the second, along y in the third, seen along -y."""
    half = np.sqrt(0.5)
    poses = np.array(
        [[0, 0, 0.1, 1, 0, 0, 0], [0, 0, 0.1 + LIFT_M, 1, 0, 0, 0], [0, 0, 0.1, half, 0, 0, half]], float
    )
    body = ColoredMesh(np.asarray(ROD.vertices), np.asarray(ROD.faces), RED, "object")
    placed = ColoredMesh(body.vertices + np.array([0, 0, 0.1]), body.faces, RED, "object")
    drawing = Drawing(
        meshes=(placed,),
        clouds=(),
        caption="a rod",
        detail="lifted, then turned",
        table=False,
        azimuth_deg=-90.0,
        center=(0.0, 0.0, 0.1),
        width_m=WIDTH_M,
        replay=Replay((body,), poses[:, None], 0.05),
    )
    wide = table([f"a rather long heading {i}" for i in range(20)], [["1000000.0"] * 20])
    file = tmp_path_factory.mktemp("page") / "page.html"
    return write_page("Rods", [legend("lifted"), cards([drawing]), "<br>" * 80, wide], [drawing], file)


def rod(page: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return center and extent of the red pixels of the view, as shares of its width (x right, y up)."""
    image = pixels(page.locator("canvas.view").screenshot())
    rows, columns = np.nonzero((image[..., 0] > 80) & (image[..., 1] < 60))
    places = np.stack([columns, -rows], axis=1) / image.shape[1]
    return places.mean(0), np.ptp(places, axis=0)


def show(page: Any, moment: int) -> None:
    page.locator(".replay input").evaluate(
        f"e => {{ e.value = {moment}; e.dispatchEvent(new Event('input')) }}"
    )
    page.wait_for_timeout(200)


def test_a_replay_moves_bodies_as_far_as_it_says(page_file: Path) -> None:
    with browser_page() as page:
        page.goto(page_file.as_uri())
        page.wait_for_timeout(500)
        made = rod(page)
        show(page, STILL)
        center, extent = rod(page)
        np.testing.assert_allclose(center, made[0], atol=0.01)
        np.testing.assert_allclose(extent[0], 0.10 / WIDTH_M, atol=0.01)
        show(page, LIFTED)
        moved = rod(page)[0] - center
        np.testing.assert_allclose(moved, [0, LIFT_M * np.cos(np.radians(25)) / WIDTH_M], atol=0.01)
        show(page, TURNED)
        np.testing.assert_allclose(rod(page)[1][0], 0.02 / WIDTH_M, atol=0.01)
        page.get_by_role("button", name="replay").click()
        page.wait_for_timeout(600)
        assert page.locator(".replay input").input_value() == "2"
        assert page.locator(".replay button").inner_text() == "replay"  # it has ended


def test_the_wheel_scrolls_the_page_until_the_view_is_clicked(page_file: Path) -> None:
    with browser_page(height=500) as page:
        page.goto(page_file.as_uri())
        page.wait_for_timeout(500)
        view, before = page.locator("canvas.view"), rod(page)[1]
        view.hover()
        page.mouse.wheel(0, 50)
        page.wait_for_timeout(300)
        assert page.evaluate("scrollY") > 0
        np.testing.assert_allclose(rod(page)[1], before, atol=0.01)
        at = page.evaluate("scrollY")
        view.click()
        page.mouse.wheel(0, 100)
        page.wait_for_timeout(300)
        assert page.evaluate("scrollY") == at
        np.testing.assert_allclose(rod(page)[1][0], before[0] * np.exp(-0.2), atol=0.01)


def test_keys_turn_and_zoom_the_view_and_bring_it_back(page_file: Path) -> None:
    with browser_page() as page:
        page.goto(page_file.as_uri())
        page.wait_for_timeout(500)
        before = rod(page)[1]
        page.locator("input[data-layer]").last.focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.ariaLabel") == "a rod"
        for _ in range(9):
            page.keyboard.press("ArrowRight")
        assert rod(page)[1][0] < 0.5 * before[0]  # seen along its length
        page.keyboard.press("+")
        page.keyboard.press("Home")
        np.testing.assert_allclose(rod(page)[1], before, atol=0.02)
        page.keyboard.press("-")
        assert rod(page)[1][0] < 0.9 * before[0]


def test_a_phone_in_the_dark_scrolls_down_only(page_file: Path) -> None:
    phone = {"device_scale_factor": 2, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    with browser_page(390, 844, **phone) as page:
        page.goto(page_file.as_uri())
        page.wait_for_timeout(500)
        assert page.evaluate("document.scrollingElement.scrollWidth") == 390
        assert pixels(page.screenshot())[2, 2].max() < 40  # the page, not its views
        assert rod(page)[1][0] > 0.2


def test_a_computers_page_is_no_wider_than_its_window(page_file: Path) -> None:
    with browser_page(1000, 700) as page:
        page.goto(page_file.as_uri())
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 1000


def test_a_chart_fits_a_phone_with_all_its_words(tmp_path: Path) -> None:
    rate = {"value": 1.0, "wilson95": [0.9, 1.0], "by_object95": [0.8, 1.0], "trials": 10}
    long = "a method with a name that is rather long"
    chart = forest([(long, [rate])], ["test"])
    with browser_page(390, 844) as page:
        page.goto(write_page("Chart", [chart], [], tmp_path / "chart.html").as_uri())
        assert page.evaluate("document.scrollingElement.scrollWidth") == 390
        frame = page.locator("svg").bounding_box()
        for word in page.locator("svg text").all():
            box = word.bounding_box()
            assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"] <= 390
            assert box["height"] >= 11  # what can be read


def test_without_webgl_there_is_a_sentence_and_nothing_to_press(page_file: Path) -> None:
    with browser_page(webgl=False) as page:
        page.goto(page_file.as_uri())
        assert "This browser has WebGL switched off, so 3D views are missing." in page.inner_text(".card")
        assert page.locator("canvas, .replay").count() == 0
