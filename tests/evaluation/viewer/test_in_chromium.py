"""The viewer in a real browser: what its canvas shows, and that its controls reach this program."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("viser", reason="the extra 'view' is not installed")
pytest.importorskip("playwright", reason="playwright is not installed")

from factories.chromium import CHROMIUM, browser_page, pixels, share_of
from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.evaluation.viewer.browser import Browser
from sceneleapultra.evaluation.viewer.opening import open_catalog
from sceneleapultra.evaluation.viewer.stage import Stage
from sceneleapultra.reporting.drawing import UNTESTED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


def wait_for(page: Any, holds: Any, seconds: float = 60.0) -> None:
    for _ in range(int(2 * seconds)):
        if holds():
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"not so within {seconds:g} s")


def test_grasps_trial_and_sampling_are_seen_and_steered(tested: Path) -> None:
    checkpoint = str(LEAP_TABLE_CPU)
    catalog = open_catalog(str(tested), store=None, hand=None, checkpoint=checkpoint, protocol=None)
    stage = Stage(0, catalog.title)
    browser = Browser(stage, catalog)
    found = browser.sides[0].candidates
    assert found is not None

    with browser_page() as page:

        def canvas() -> Any:
            return pixels(page.locator("canvas").first.screenshot())

        page.goto(stage.url)
        wait_for(page, lambda: share_of(canvas(), found.colors[0]) > 0.005)
        text = page.inner_text("body")
        assert catalog.title in text and f"grasp 1 of 2: {found.outcomes[0]}" in text
        page.get_by_role("button", name="Try this grasp again").click()
        wait_for(page, lambda: f"({found.outcomes[0]})" in page.inner_text("body"))
        start = canvas()
        moment = page.locator("input[type=text]:visible").last
        moment.fill("45")
        moment.press("Enter")
        wait_for(page, lambda: int(browser.panels[1].slider.value) == 45)
        wait_for(page, lambda: (abs(canvas() - start).max(-1) > 30).mean() > 0.005)
        page.get_by_role("button", name="Sample").click()
        wait_for(page, lambda: "after step 1 of" in page.inner_text("body"))
        wait_for(page, lambda: share_of(canvas(), UNTESTED) > 0.005)
    stage.server.stop()
