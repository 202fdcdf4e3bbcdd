"""The tested grasps that a report draws: the worst failures first, then successes, of many objects."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.result import MethodResult
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.drawing import Drawing, draw_scene, outcome_color
from sceneleapultra.reporting.report import Gallery
from sceneleapultra.utils.records import Outcome


def galleries(result: MethodResult, items: Sequence[Item], hand: Hand, count: int) -> list[Gallery]:
    """Draw up to ``count`` failures and ``count`` successes of one method; an empty gallery is left out."""
    by_index = {item.index: item for item in items}
    rows = result.rows
    # Of the failures the deepest, then those that moved furthest; of the successes the clear and confident ones.
    displacement = np.clip(np.nan_to_num(rows.displacement_m, nan=0.0), 0.0, 1.0)
    badness = rows.penetration_m + 1e-3 * displacement
    confidence = np.nan_to_num(rows.score, nan=0.0) + 1e3 * rows.clear
    failed = _spread(np.flatnonzero(~rows.success & rows.ran), badness, rows.object_name, count)
    held = _spread(np.flatnonzero(rows.success), confidence, rows.object_name, count)
    name = f"{result.split}, {result.method}"
    found = []
    for heading, picked, stable in (("failures, worst first", failed, False), ("successes", held, True)):
        drawings = [draw_row(result, row, by_index[int(rows.item[row])], hand) for row in picked]
        if drawings:
            found.append(Gallery(f"{name}: {heading}", tuple(drawings), stable))
    return found


def draw_row(result: MethodResult, row: int, item: Item, hand: Hand) -> Drawing:
    """Draw one tested grasp with its outcome."""
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
    caption = f"{item.object.name}: {words}"
    return draw_scene(item.scene, item.view, item.target, hand, pose, [color], caption=caption, detail=detail)


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
