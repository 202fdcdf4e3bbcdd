"""What predicted grasps look like: a page with every grasp in 3D and a picture of the first, best score first."""

from html import escape
from pathlib import Path

from sceneleapultra.evaluation.items import Item
from sceneleapultra.hands import Hand
from sceneleapultra.models.apart import best_and_apart
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.reporting.drawing import ColoredHands, Drawing, draw_scene, outcome_color
from sceneleapultra.reporting.html import Ends, cards, legend, write_page
from sceneleapultra.reporting.pictures import render_png
from sceneleapultra.reporting.requests import draw_request
from sceneleapultra.utils.records import Grasps, Outcome
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.verdicts import VerdictTable

_SHOWN, _PICTURED = 24, 6  # grasps on the page; of these, in the picture, such that differ


def write_prediction(
    request: GraspRequest,
    made: SampledGrasps,
    tested: tuple[Item, VerdictTable] | None,
    *,
    hand: Hand,
    folder: Path,
    title: str,
) -> None:
    """Write ``grasps.html`` and ``grasps.png``.

    Args:
        request: the cloud.
        made: its grasps.
        tested: the scene and what the simulation says, where the scene is known.
        hand: that grasps.
        folder: where they are written.
        title: of both.
    """
    shown = range(min(_SHOWN, len(made)))
    first = (made.score[: len(shown)], made.position[: len(shown)], made.quat_wxyz[: len(shown)])
    differing = best_and_apart(*first, min(_PICTURED, len(shown)), apart_m=0.05, apart_rad=0.8)
    grasps = made.grasps
    if tested is None:
        drawings = draw_request(request, hand, made.hand_pose, [made.describe(i) for i in shown])
    else:
        drawings = [_draw_tested(*tested, grasps, i, made.describe(i), hand) for i in shown]
    remarks = "".join(f"<p>{escape(text)}</p>" for text in (*request.notes, *made.warnings))
    ends: Ends = "untried" if tested is None else "lifted" if "picked_cleanly" in tested[1].values else "held"
    write_page(title, [remarks, legend(ends), cards(drawings)], drawings, folder / "grasps.html")
    pictured = [drawings[i] for i in differing]
    render_png(pictured, folder / "grasps.png", columns=3, size=400, title=title)


def _draw_tested(
    item: Item, verdicts: VerdictTable, grasps: Grasps, i: int, detail: str, hand: Hand
) -> Drawing:
    outcome, lifted = Outcome(int(verdicts["outcome"][i])), "picked_cleanly" in verdicts.values
    success = "picked cleanly" if lifted else "stable"
    words = success if outcome == Outcome.SUCCESS else outcome.name.lower().replace("_", " ")
    color = outcome_color(outcome, lifted or bool(verdicts["collision_free"][i]))
    return draw_scene(
        item.scene,
        item.view,
        item.target,
        ColoredHands(hand, grasps.hand_pose[i : i + 1], [color]),
        caption=f"grasp {i + 1}: {words}",
        detail=detail,
    )
