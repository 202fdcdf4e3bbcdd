import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from factories.pages import HOSTILE, require_inert
from sceneleapultra.evaluation.gallery import galleries
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.reporting.charts import forest, histogram, outcome_bars, percent
from sceneleapultra.reporting.report import write_report
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import SceneRecord
from sceneleapultra.utils.verdicts import VerdictTable

SECTIONS = [build(section) for section in load_group("report", "default").values()]
METHODS = ("model", "random training grasp", "nearest training view", "generator, its tries")


@pytest.fixture(scope="module")
def hand() -> Hand:
    return load_hand("leap_right")


@pytest.fixture
def results(stored_result) -> list[GraspResults]:
    return [stored_result("test", name) for name in METHODS]


def document(results: list[GraspResults]) -> dict:
    rate = {"value": 0.5, "wilson95": [0.4, 0.6], "by_object95": [0.3, 0.7], "trials": 100, "successes": 50}
    curve = [{"temperature": t, "stable": rate, "joint_spread_rad": t / 5} for t in (0.3, 0.6, 1.0)]
    provenance = {
        "title": "Grasps",
        "sentence": "20 grasps <of> 5 objects.",
        "command": "python test_lightning.py checkpoint=x.ckpt",
        "commit": "0123abc",
        "config": {"protocol": "dgb-fc"},
    }
    tuning = {"temperature": 0.6, "curve": curve, "sentence": "Tuned on validation objects."}
    return {"provenance": provenance, "methods": [r.to_json() for r in results], "tuning": tuning}


def test_tables_survive_json(results: list[GraspResults]):
    table = results[0].table
    again = VerdictTable.from_json("dgb-fc", "0", json.loads(json.dumps(table.to_json())))
    for name in ("object_name", "item", "stable", "collision_free", "outcome", "direction_success"):
        np.testing.assert_array_equal(again[name], table[name])
    np.testing.assert_allclose(again["penetration_m"], table["penetration_m"], atol=1e-6)
    assert np.isnan(again["score"]).all()
    assert "NaN" not in json.dumps(results[0].to_json())


def test_summary_counts(results: list[GraspResults]):
    summary = results[0].summary()
    assert summary["stable"]["successes"] == 15
    assert summary["num_objects"] == 5
    assert summary["stable_objects"] == 1.0
    assert summary["families"]["box"]["trials"] == 20
    assert summary["penetration_mm"] == pytest.approx(1.0)
    assert summary["contact_distance_mm"] is None  # nobody measured it
    assert "contact_links" not in summary
    assert summary["stable_and_collision_free"] == summary["stable"]


def test_the_report_needs_nothing_beside_it(
    results: list[GraspResults], training_records: list[SceneRecord], hand: Hand, tmp_path: Path
):
    items = [Item(i, "test", r.scene, 0, r.views[0]) for i, r in enumerate(training_records)]
    drawn = galleries(results[0], items, hand, count=2)
    assert [(len(gallery.drawings), gallery.stable) for gallery in drawn] == [(2, True), (2, False)]
    page = write_report(document(results), drawn, SECTIONS, tmp_path / "report.html").read_text()
    # Nothing is fetched: no source, link or import that leads out of the file.
    assert not re.search(r"""(src|href)\s*=|@import|url\(|fetch\(|https?://""", page)
    for method in METHODS:
        assert method in page
        assert f"what {method} gets" in page
    for fact in (
        "0123abc",
        "checkpoint=x.ckpt",
        "20 grasps &lt;of&gt; 5 objects",
        "Temperature",
        "test: stable",
    ):
        assert fact in page
    assert page.count('<canvas class="view"') == 4
    packed = json.loads(re.search(r'id="drawings">(.*?)</script>', page, re.DOTALL)[1])
    meshes = packed["drawings"][0]["meshes"]
    assert [s["role"] for s in meshes] == ["object", "hand"]
    assert all(s["vertices"] in packed["assets"] and s["faces"] in packed["assets"] for s in meshes)


def test_no_text_of_a_test_becomes_markup(stored_result, training_records: list[SceneRecord], tmp_path: Path):
    result = stored_result("test", HOSTILE)
    names = np.full(len(result.table), HOSTILE)
    result = replace(result, table=result.table.with_columns({"object_name": names, "family": names}))
    told = document([result])
    told["provenance"] |= {
        "title": HOSTILE,
        "sentence": HOSTILE,
        "command": HOSTILE,
        "config": {HOSTILE: HOSTILE},
    }
    told["tuning"]["sentence"] = HOSTILE
    items = [Item(i, "test", r.scene, 0, r.views[0]) for i, r in enumerate(training_records)]
    drawn = galleries(result, items, load_hand("leap_right"), count=1)
    said = {"caption": HOSTILE, "detail": HOSTILE}
    drawn = [replace(gallery, drawings=(replace(gallery.drawings[0], **said),)) for gallery in drawn]
    require_inert(write_report(told, drawn, SECTIONS, tmp_path / "report.html").read_text())


def test_the_gallery_shows_the_worst_failure_first(results: list[GraspResults], training_records, hand: Hand):
    table = results[0].table
    deep = table["penetration_m"].copy()
    failures = np.flatnonzero(~table["stable"])
    deep[failures[3]] = 0.02
    changed = replace(results[0], table=table.with_columns({"penetration_m": deep}))
    items = [Item(i, "test", r.scene, 0, r.views[0]) for i, r in enumerate(training_records)]
    best, worst = galleries(changed, items, hand, count=3)
    assert best.stable and not worst.stable
    first = worst.drawings[0]
    assert first.caption == f"{table['object_name'][failures[3]]}: slipped"
    assert first.detail.startswith("20.0 mm in the object")


def test_percent_and_charts_of_nothing():
    assert percent({}) == "-"
    nothing = {"value": None, "wilson95": [0, 1], "by_object95": [0, 1], "trials": 0}
    assert percent(nothing) == "-"
    assert "<circle" not in forest([("a", [nothing])], ["test"])
    assert 'width="0.00"' in outcome_bars([("a", {"success": 0, "slipped": 0})])


def test_charts_say_what_they_show():
    rate = {"value": 0.5, "wilson95": [0.3, 0.7], "by_object95": [0.2, 0.8], "trials": 10}
    assert 'aria-label="a &lt;b&gt;, test: 50.0 % [30.0, 70.0] of 10 grasps"' in forest(
        [("a <b>", [rate])], ["test"]
    )
    assert 'aria-label="a: success 1 of 2 (50.0 %); a: slipped 1 of 2 (50.0 %)"' in outcome_bars(
        [("a", {"success": 1, "slipped": 1})]
    )
    counted = histogram(np.array([1024.0, 1024.0]), "points", (0.0, 2048.0))
    assert 'aria-label="points, from 0 to 2,048: median 1,024"' in counted
