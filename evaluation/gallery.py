"""The tested grasps that a report draws: the worst failures first, then successes, of many objects."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.drawing import ColoredHands, Drawing, draw_scene, outcome_color
from sceneleapultra.reporting.report import Gallery
from sceneleapultra.utils.records import Outcome


def galleries(result: GraspResults, items: Sequence[Item], hand: Hand, count: int) -> list[Gallery]:
    """Draw up to ``count`` failures and ``count`` successes of one method; an empty gallery is left out."""
    by_index = {item.index: item for item in items}
    table = result.table
    # Of the failures the deepest, then those that moved furthest; of the successes the clear and confident ones.
    displacement = np.clip(np.nan_to_num(table["displacement_m"], nan=0.0), 0.0, 1.0)
    badness = table["penetration_m"] + 1e-3 * displacement
    confidence = np.nan_to_num(table["score"], nan=0.0) + 1e3 * table["collision_free"]
    failed = _spread(np.flatnonzero(~table["stable"] & table.ran), badness, table["object_name"], count)
    held = _spread(np.flatnonzero(table["stable"]), confidence, table["object_name"], count)
    name = f"{result.split}, {result.method}"
    found = []
    for heading, picked, stable in (("failures, worst first", failed, False), ("successes", held, True)):
        drawings = [draw_row(result, row, by_index[int(table["item"][row])], hand) for row in picked]
        if drawings:
            found.append(Gallery(f"{name}: {heading}", tuple(drawings), stable))
    return found


def draw_row(result: GraspResults, row: int, item: Item, hand: Hand) -> Drawing:
    """Draw one tested grasp with its outcome."""
    table = result.table
    outcome, collision_free = Outcome(int(table["outcome"][row])), bool(table["collision_free"][row])
    success = "picked cleanly" if "picked_cleanly" in table.values else "held"
    words = success if outcome == Outcome.SUCCESS else outcome.name.lower().replace("_", " ")
    detail = f"{1e3 * table['penetration_m'][row]:.1f} mm in the object"
    if np.isfinite(table["displacement_m"][row]) and outcome != Outcome.SUCCESS:
        detail += f", object moved {100 * table['displacement_m'][row]:.1f} cm"
    if not collision_free:
        detail += f", {-1e3 * table['clearance_m'][row]:.1f} mm in its surroundings"
    color = outcome_color(outcome, collision_free)
    hands = ColoredHands(hand, result.grasps.hand_pose[row : row + 1], [color])
    caption = f"{item.object.name}: {words}"
    return draw_scene(item.scene, item.view, item.target, hands, caption=caption, detail=detail)


def _spread(
    rows: Int[np.ndarray, "m"], order: Float[np.ndarray, "n"], names: np.ndarray, count: int
) -> list[int]:
    """Take the first of every object, then the second of every object, and so on, each by descending order."""
    ranked = rows[np.argsort(-order[rows], kind="stable")]
    count_of: dict[str, int] = {}
    turn = []
    for row in ranked:
        count_of[names[row]] = count_of.get(names[row], -1) + 1
        turn.append(count_of[names[row]])
    return [int(row) for row in ranked[np.argsort(turn, kind="stable")][:count]]
