"""Which of the judged grasps are looked at: the worst failures first, then successes, of many objects."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.evaluation.drawing import Drawing, draw_item, outcome_color
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.result import MethodResult
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import Outcome


def gallery(result: MethodResult, items: Sequence[Item], hand: Hand, count: int) -> dict[str, list[Drawing]]:
    """Return drawings of up to ``count`` failures and ``count`` successes of one method, by heading."""
    by_index = {item.index: item for item in items}
    rows = result.rows
    failed = np.flatnonzero(~rows.success & rows.ran)
    held = np.flatnonzero(rows.success)
    # Of the successes the clear and confident ones; of the failures the deepest, then those that moved furthest.
    moved = np.nan_to_num(rows.displacement_m, nan=0.0)
    badness = rows.penetration_m + np.clip(moved, 0.0, 1.0) * 1e-3
    confidence = np.nan_to_num(rows.score, nan=0.0) + 1e3 * rows.clear
    chosen = {
        f"{result.split}, {result.method}: failures, worst first": _spread(
            failed, badness, rows.object_name, count
        ),
        f"{result.split}, {result.method}: successes": _spread(held, confidence, rows.object_name, count),
    }
    return {
        heading: [draw_row(result, row, by_index[int(rows.item[row])], hand) for row in picked]
        for heading, picked in chosen.items()
        if len(picked)
    }


def draw_row(result: MethodResult, row: int, item: Item, hand: Hand) -> Drawing:
    """Draw one judged grasp with what happened to it."""
    rows = result.rows
    outcome, clear = Outcome(int(rows.outcome[row])), bool(rows.clear[row])
    words = "held" if outcome == Outcome.SUCCESS else outcome.name.lower().replace("_", " ")
    detail = f"{1e3 * rows.penetration_m[row]:.1f} mm in the object"
    if np.isfinite(rows.displacement_m[row]) and outcome != Outcome.SUCCESS:
        detail += f", object moved {100 * rows.displacement_m[row]:.1f} cm"
    if not clear:
        detail += f", {-1e3 * rows.clearance_m[row]:.1f} mm in its surroundings"
    pose = result.grasps.hand_pose[row : row + 1]
    color = outcome_color(outcome, clear)
    return draw_item(item, hand, pose, [color], caption=f"{item.object.name}: {words}", detail=detail)


def _spread(
    rows: Int[np.ndarray, "m"], order: Float[np.ndarray, "n"], names: Sequence[str], count: int
) -> list[int]:
    """Take the first of every object, then the second of every object, and so on, each by descending order."""
    ranked = rows[np.argsort(-order[rows], kind="stable")]
    seen: dict[str, int] = {}
    turn = []
    for row in ranked:
        seen[names[row]] = seen.get(names[row], -1) + 1
        turn.append(seen[names[row]])
    return [int(row) for row in ranked[np.argsort(turn, kind="stable")][:count]]
