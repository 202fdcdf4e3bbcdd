"""Which part does a test name, and do contacts decide whether it was obeyed?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from factories.lifts import firm, standing
from sceneleapultra.evaluation.evaluate import evaluate_method
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Proposal
from sceneleapultra.evaluation.part_prompts import (
    PartFilter,
    part_columns,
    words_for,
)
from sceneleapultra.hands import load_hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.simulation.objects.solid import circle, hull_vertices
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import View
from sceneleapultra.utils.verdicts import VerdictTable

HEIGHTS_M = (0.03, 0.0, -0.05)  # of the firm grasp, moved along the cylinder


@dataclass(frozen=True)
class Moved:
    """The firm grasp at several heights, the highest liked best."""

    name: str = "moved"
    role: Role = Role.BASELINE
    privileged_inputs: str = "where the object is"

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return the first ``k``."""
        grasps = firm()[np.zeros(k, dtype=int)]
        pose = grasps.hand_pose.copy()
        pose[:, 2] += HEIGHTS_M[:k]
        return [Proposal(replace(grasps, hand_pose=pose), -np.arange(k, dtype=float)) for _ in items]


def item(part: Part | None) -> Item:
    """A standing cylinder whose upper end is a neck."""
    levels = [circle(0.03, z, 24) for z in (-0.06, 0.0, 0.06)]
    pieces = tuple(hull_vertices(np.vstack(levels[i : i + 2])) for i in range(2))
    scene = standing()
    named = replace(scene.objects[0], pieces=pieces, piece_part=np.array([Part.BODY, Part.NECK], np.uint8))
    view = View(np.eye(4), np.eye(3), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, np.uint8))
    return Item(4, "test", replace(scene, objects=(named,)), 0, view, part=part)


def test_words() -> None:
    assert words_for("none", item(None)) == {}
    assert words_for("category", item(None)) == {"prompt": "cylinder"}
    assert words_for("part", item(Part.NECK)) == {"prompt": "by the neck"}
    assert words_for("not_part", item(Part.NECK)) == {"negative_prompts": ("by the neck",)}
    with pytest.raises(ValueError, match="Item 4: no part of cylinder-000000 is known to be grasped"):
        words_for("part", item(None))


def test_a_grasp_is_on_the_part_it_holds_and_off_those_it_does_not_touch() -> None:
    values = {
        "object_name": ["x"] * 3,
        "held_part": [Part.RIM, Part.RIM, Part.UNNAMED],
        "touched_parts": [Part.RIM.bit | Part.HANDLE.bit, Part.RIM.bit, 0],
    }
    table = VerdictTable.of("p", "h", values)
    found = part_columns(table, np.array([Part.RIM, Part.HANDLE, Part.LID], dtype=int))
    assert found["on_part"].tolist() == [True, False, False]
    assert found["off_part"].tolist() == [False, True, True]


def test_a_filter_keeps_what_obeys_and_fills_up_with_the_best_of_the_rest() -> None:
    hand, protocol = load_hand("leap_right"), get_protocol("dgb-fc-quick")

    def heights(part: Part, prompt: str, k: int) -> list[float]:
        method = PartFilter(Moved(), 3, prompt, hand, protocol)
        (kept,) = method.sample_items([item(part)], k)
        return (kept.grasps.hand_pose[:, 2] - firm().hand_pose[0, 2]).round(3).tolist()

    assert heights(Part.NECK, "part", 2) == [0.03, 0.0]
    assert heights(Part.BODY, "part", 2) == [-0.05, 0.03]
    assert heights(Part.BODY, "not_part", 1) == [0.03]
    assert heights(Part.LID, "not_part", 3) == [0.03, 0.0, -0.05]  # nothing touches what is not there


def test_an_evaluation_by_part_says_what_each_grasp_is_on() -> None:
    results = evaluate_method(
        Moved(),
        [item(Part.BODY)],
        3,
        hand=load_hand("leap_right"),
        protocol=get_protocol("dgb-fc-quick"),
        executor=LocalExecutor(workers=1),
        min_clearance_m=0.0,
        by_part=True,
    )
    assert results.table["on_part"].tolist() == [False, False, True]
    assert results.summary()["on_part"] == pytest.approx(100 / 3)
    assert "on_part" in [measure["keys"][0] for measure in results.table.measures()]
