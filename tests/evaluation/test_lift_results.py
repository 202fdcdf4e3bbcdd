"""What a lift out of the scene leaves in results, labels and reports."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from factories.lifts import box, firm, standing
from sceneleapultra.evaluation.evaluate import evaluate_method
from sceneleapultra.evaluation.gallery import galleries
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Proposal, unscored
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.evaluation.self_training import label_grasps
from sceneleapultra.hands import load_hand
from sceneleapultra.reporting.report import ReportContext
from sceneleapultra.reporting.results import ResultTable, Role
from sceneleapultra.reporting.sections import SuccessRates
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.test_lightning import table
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.records import Grasps, Outcome, Scene, View
from sceneleapultra.utils.verdicts import VerdictTable


@dataclass
class Known:
    """A method that proposes what it was made with."""

    grasps: Grasps
    name: str = "known"
    role: Role = Role.MODEL
    privileged_inputs: str = "everything"

    def sample_items(self, items: list[Item], k: int) -> list[Proposal]:
        return [unscored(self.grasps) for _ in items]


def evaluated(scene: Scene, grasps: Grasps, protocol: str) -> GraspResults:
    view = View(np.eye(4), np.eye(3), np.zeros((1, 3)), np.zeros((1, 3), np.uint8), np.ones(1, np.uint8))
    return evaluate_method(
        Known(grasps),
        [Item(0, "test", scene, 0, view)],
        len(grasps),
        hand=load_hand("leap_right"),
        protocol=get_protocol(protocol),
        executor=LocalExecutor(workers=0),
        min_clearance_m=0.0,
    )


@pytest.fixture(scope="module")
def lifted() -> GraspResults:
    """Four grasps beside a box: a clean pick, a shove on the way, a hand that presses the table, one in the air."""
    grasps = [
        firm(approach=(0, 0, 0.12)),
        firm(approach=(0, 0.12, 0)),
        firm((0, 0, -0.075), (0, 0, 0.12)),
        firm((0, 0, 0.3), (0, 0, 0.1)),
    ]
    scene = standing((box("shoved", (0.04, 0.04, 0.11)), (0.0, 0.13)))
    return evaluated(scene, Grasps.concatenate(grasps), "scene-lift")


def test_summary_is_headed_by_clean_picks(lifted: GraspResults) -> None:
    summary = lifted.summary()
    ends = [Outcome.SUCCESS, Outcome.NEIGHBOR_SHOVED, Outcome.TABLE_FORCE, Outcome.NO_CONTACT]
    assert lifted.table["outcome"].tolist() == ends
    assert lifted.table["picked"].tolist() == [True, False, True, False]
    assert summary["picked_cleanly"]["successes"] == 1
    assert summary["picked_cleanly"] == summary["stable"]
    assert summary["neighbor_shift_mm"] > 20 / 4
    assert {m["unit"] for m in lifted.table.measures() if "force" in m["label"]} == {"N"}
    np.testing.assert_array_equal(lifted.grasps.approach, lifted.table["approach_m"])
    again = VerdictTable.from_json("scene-lift", "0", json.loads(json.dumps(lifted.table.to_json())))
    np.testing.assert_allclose(again["approach_m"], lifted.table["approach_m"], atol=1e-6)


def test_reports_show_clean_picks_and_picks(lifted: GraspResults, stored_result) -> None:
    document = {"methods": [lifted.to_json()]}
    results = ResultTable.from_document(document)
    assert [rate.label for rate in results.headline] == ["picked cleanly", "picked"]
    context = ReportContext({}, None, ())
    page = SuccessRates(title="Success").render(results, context)
    assert "test: picked cleanly" in page and "test: stable" not in page
    shown = table(document)
    assert str(shown.title).startswith("Picked cleanly in simulation")
    assert [column.header for column in shown.columns] == ["method", "test", "picked"]
    other = ResultTable.from_document({"methods": [stored_result("test").to_json()]})
    assert [rate.key for rate in other.headline] == ["stable", "stable_and_collision_free"]


def test_a_page_replays_what_was_judged(lifted: GraspResults) -> None:
    scene = standing((box("shoved", (0.04, 0.04, 0.11)), (0.0, 0.13)))
    view = View(np.eye(4), np.eye(3), np.zeros((1, 3)), np.zeros((1, 3), np.uint8), np.ones(1, np.uint8))
    item, protocol = Item(0, "test", scene, 0, view), get_protocol("scene-lift")
    best, worst = galleries(lifted, [item], load_hand("leap_right"), 4, protocol)
    assert best.stable and len(best.drawings) == 1 and len(worst.drawings) == 3
    replay = best.drawings[0].replay
    assert replay is not None
    target = [body.role for body in replay.bodies].index("object")
    heights = replay.poses[:, target, 2]
    assert abs(heights[-1] - heights[0] - lifted.table["rise_m"][0]) < 1e-3
    still = galleries(lifted, [item], load_hand("leap_right"), 4)
    assert all(drawing.replay is None for gallery in still for drawing in gallery.drawings)


def test_label_is_the_clean_pick_whatever_the_clearance(lifted: GraspResults) -> None:
    """A light touch is no collision here, and a verdict that covers the scene needs no line of distance."""
    inside = np.full(4, -0.004)
    labeled = label_grasps(lifted.grasps, lifted.table, inside, covers_scene=True)
    np.testing.assert_array_equal(labeled.success, lifted.table["picked_cleanly"])
    np.testing.assert_array_equal(labeled.outcome, lifted.table["outcome"])
    apart = label_grasps(lifted.grasps, lifted.table, inside, covers_scene=False)
    assert not apart.success.any()


def test_hand_in_the_table_lifts_by_dgb_tabletop_and_is_not_collision_free() -> None:
    """DexGraspBench's lift does not look at the table; the distance to it does, and the lift out of the scene too."""
    deep = firm((0, 0, -0.03))
    result = evaluated(standing(), deep, "dgb-tabletop")
    assert result.table["stable"][0]
    assert result.table["clearance_m"][0] < -0.01
    assert not result.table["collision_free"][0]
    assert not result.stable_and_collision_free[0]
