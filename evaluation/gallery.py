"""The tested grasps that a report draws: the best first, then the worst failures, of many objects."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.drawing import (
    ColoredHands,
    Drawing,
    Replay,
    draw_scene,
    origin_of,
    outcome_color,
)
from sceneleapultra.reporting.report import Gallery
from sceneleapultra.reporting.simulated import draw_replay
from sceneleapultra.simulation.protocols import Protocol
from sceneleapultra.simulation.protocols.film import FRAME_S, film
from sceneleapultra.utils.records import Outcome

_EVERY = 3  # frames of a film: one on the page


def galleries(
    result: GraspResults, items: Sequence[Item], hand: Hand, count: int, protocol: Protocol | None = None
) -> list[Gallery]:
    """Draw up to ``count`` successes and ``count`` failures of one method; an empty gallery is left out.

    Args:
        result: what is drawn.
        items: those it was made for.
        hand: that grasps.
        count: how many of each.
        protocol: by which each drawn grasp is tried once more, to show what happened; None to draw it still.
    """
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
    for heading, picked, stable in (
        ("successes, best first", held, True),
        ("failures, worst first", failed, False),
    ):
        drawings = []
        for row in picked:
            item = by_index[int(table["item"][row])]
            drawing = draw_row(result, row, item, hand)
            if protocol is not None:
                drawing = replace(drawing, replay=_replay(result, row, item, hand, protocol))
            drawings.append(drawing)
        if drawings:
            found.append(Gallery(f"{name}: {heading}", tuple(drawings), stable))
    return found


def draw_row(result: GraspResults, row: int, item: Item, hand: Hand) -> Drawing:
    """Draw one tested grasp with its outcome."""
    table = result.table
    outcome, collision_free = Outcome(int(table["outcome"][row])), bool(table["collision_free"][row])
    lifted = "picked_cleanly" in table.values
    success = "picked cleanly" if lifted else "stable"
    words = success if outcome == Outcome.SUCCESS else outcome.name.lower().replace("_", " ")
    detail = f"{1e3 * table['penetration_m'][row]:.1f} mm in the object"
    if np.isfinite(table["displacement_m"][row]) and outcome != Outcome.SUCCESS:
        detail += f", object moved {100 * table['displacement_m'][row]:.1f} cm"
    if not collision_free:
        detail += f", {-1e3 * table['clearance_m'][row]:.1f} mm in its surroundings"
    color = outcome_color(outcome, lifted or collision_free)
    hands = ColoredHands(hand, result.grasps.hand_pose[row : row + 1], [color])
    caption = f"{item.object.name}: {words}"
    return draw_scene(item.scene, item.view, item.target, hands, caption=caption, detail=detail)


def _replay(result: GraspResults, row: int, item: Item, hand: Hand, protocol: Protocol) -> Replay | None:
    """Try a grasp once more; return what happened, None where nothing moved."""
    shown = film(hand, item.scene, item.target, result.grasps, row, protocol)
    frames = shown.frames[::_EVERY]
    if not frames:
        return None
    poses = np.stack([frame.poses for frame in frames])
    return draw_replay(shown.model, poses, origin_of(item.scene, item.target), _EVERY * FRAME_S)


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
