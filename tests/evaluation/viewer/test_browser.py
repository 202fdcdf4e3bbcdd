"""The controls of the viewer, worked from here instead of from a browser: what is drawn is what they say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("viser", reason="the extra 'view' is not installed")

from sceneleapultra.evaluation.viewer.browser import Browser
from sceneleapultra.evaluation.viewer.opening import open_catalog
from sceneleapultra.evaluation.viewer.sides import APART_M
from sceneleapultra.evaluation.viewer.stage import HOST, Stage


@contextmanager
def browsing(path: Path, **changes: str) -> Iterator[Browser]:
    known: dict[str, str | None] = dict.fromkeys(("store", "hand", "checkpoint", "protocol"))
    catalog = open_catalog(str(path), **(known | changes))  # type: ignore[arg-type]
    stage = Stage(0, catalog.title)
    try:
        yield Browser(stage, catalog)
    finally:
        stage.server.stop()


def vertices(browser: Browser, group: str) -> list[np.ndarray]:
    return [np.asarray(node.vertices) for node in browser.stage.drawn(group)]


def test_it_listens_to_this_machine_alone(tiny_store: Path) -> None:
    with browsing(tiny_store) as browser:
        assert browser.stage.server.get_host() == HOST == "127.0.0.1"


def test_another_item_and_another_grasp_are_drawn(tiny_store: Path) -> None:
    with browsing(tiny_store) as browser:
        (first,) = vertices(browser, "side0/hand")
        browser._grasp.value = 2
        (second,) = vertices(browser, "side0/hand")
        assert first.shape == second.shape and not np.allclose(first, second)
        browser._moment.value = "squeeze"
        (squeezed,) = vertices(browser, "side0/hand")
        assert not np.allclose(second, squeezed)
        cloud = browser.stage.drawn("side0/cloud")[0].points
        browser._item.value = 3
        assert not np.array_equal(cloud, browser.stage.drawn("side0/cloud")[0].points)
        assert browser.grasp == 0


@pytest.mark.slow
def test_two_methods_stand_beside_each_other(tested: Path) -> None:
    with browsing(tested) as browser:
        browser._beside.value = browser._beside.options[-1]
        left, right = (vertices(browser, f"side{i}/objects") for i in (0, 1))
        for a, b in zip(left, right, strict=True):
            np.testing.assert_allclose(b - a, np.tile([APART_M, 0, 0], (len(a), 1)), atol=1e-5)
        assert len(vertices(browser, "side1/hand")) == 1
        assert browser.sides[1].method in browser._details.content


def test_a_trial_is_replayed_as_it_was_judged(tested: Path) -> None:
    with browsing(tested) as browser:
        _, replay = browser.panels
        replay.run()
        found = browser.sides[0].candidates
        assert found is not None and f"({found.outcomes[0]})" in replay.text.content
        bodies = browser.stage.drawn("side0/trial")
        start = [tuple(node.position) for node in bodies]
        assert not any(node.visible for node in browser.stage.drawn("side0/hand"))
        replay.slider.value = replay.slider.max
        assert [tuple(node.position) for node in bodies] != start
        browser._grasp.value = 2
        assert not browser.stage.drawn("side0/trial") and not replay.slider.visible
        assert all(node.visible for node in browser.stage.drawn("side0/hand"))


@pytest.mark.slow
def test_sampling_ends_at_the_grasps_of_the_same_seed(predicted: Path) -> None:
    from factories.shipped import LEAP_TABLE_CPU

    with browsing(predicted, checkpoint=str(LEAP_TABLE_CPU)) as browser:
        sampling, replay = browser.panels
        replay.run()
        assert "true scene of a prediction is not known" in replay.text.content
        sampling.run()
        noise = vertices(browser, "side0/steps")
        assert len(noise) == 3 and "after step 1 of" in sampling.text.content
        sampling.slider.value = sampling.slider.max
        ends = vertices(browser, "side0/steps")
        assert "0.0 cm from where they end" in sampling.text.content
        assert all(not np.allclose(a, b, atol=1e-3) for a, b in zip(noise, ends, strict=True))


def test_a_busy_port_is_said(tiny_store: Path, run_program: Callable[..., int], capsys: Any) -> None:
    with browsing(tiny_store) as browser:
        port = browser.stage.server.get_port()
        assert run_program("view", tiny_store, "--port", port) == 1
        assert f"--port {port}" in capsys.readouterr().err
