"""The page of predicted grasps: every grasp in 3D, best score first."""

from html import escape
from pathlib import Path

from sceneleapultra.evaluation.items import Item
from sceneleapultra.hands import Hand
from sceneleapultra.models.sampled_grasps import SampledGrasps
from sceneleapultra.reporting.drawing import ColoredHands, Drawing, draw_scene, outcome_color
from sceneleapultra.reporting.html import LAYERS, cards, write_page
from sceneleapultra.reporting.requests import draw_request
from sceneleapultra.utils.records import Grasps, Outcome
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.verdicts import VerdictTable

_SHOWN = 24  # grasps


def write_prediction_page(
    request: GraspRequest,
    made: SampledGrasps,
    tested: tuple[Item, VerdictTable] | None,
    *,
    hand: Hand,
    path: Path,
    title: str,
) -> Path:
    """Write the page.

    Args:
        request: the cloud.
        made: its grasps.
        tested: the scene and what the simulation says, where the scene is known.
        hand: that grasps.
        path: the HTML file.
        title: of the page.
    """
    shown = range(min(_SHOWN, len(made)))
    grasps = Grasps(made.hand_pose, made.pregrasp_qpos, made.squeeze_qpos)
    if tested is None:
        drawings = draw_request(request, hand, made.hand_pose, [made.describe(i) for i in shown])
    else:
        drawings = [_draw_tested(*tested, grasps, i, made.describe(i), hand) for i in shown]
    remarks = "".join(f"<p>{escape(text)}</p>" for text in (*request.notes, *made.warnings))
    return write_page(title, [remarks, LAYERS, cards(drawings)], drawings, path)


def _draw_tested(
    item: Item, verdicts: VerdictTable, grasps: Grasps, i: int, detail: str, hand: Hand
) -> Drawing:
    outcome = Outcome(int(verdicts["outcome"][i]))
    color = outcome_color(outcome, bool(verdicts["clearance_m"][i] >= 0))
    return draw_scene(
        item.scene,
        item.view,
        item.target,
        ColoredHands(hand, grasps.hand_pose[i : i + 1], [color]),
        caption=f"grasp {i + 1}: {outcome.name.lower().replace('_', ' ')}",
        detail=detail,
    )
