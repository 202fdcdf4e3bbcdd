"""The page of predicted grasps: every grasp in 3D, best score first."""

from pathlib import Path

import numpy as np

from sceneleapultra.evaluation.methods.training_index import transform_grasps
from sceneleapultra.evaluation.requests import GraspRequest, upright
from sceneleapultra.hands import Hand
from sceneleapultra.reporting.drawing import (
    UNTESTED,
    CloudView,
    ColoredHands,
    Drawing,
    draw_cloud,
    draw_scene,
    outcome_color,
)
from sceneleapultra.reporting.html import LAYERS, cards, write_page
from sceneleapultra.utils.geometry.frames import table_height
from sceneleapultra.utils.records import Grasps, Outcome
from sceneleapultra.utils.verdicts import VerdictTable

_SHOWN = 24  # grasps


def write_prediction_page(
    request: GraspRequest,
    grasps: Grasps,
    score: np.ndarray,
    verdicts: VerdictTable | None,
    *,
    hand: Hand,
    on_table: bool,
    path: Path,
    title: str,
) -> Path:
    """Write the page.

    Args:
        request: the cloud, and the scene where it is known.
        grasps: in the frame of the cloud.
        score: of each grasp.
        verdicts: what the simulation says, where the scene is known.
        hand: that grasps.
        on_table: whether the cloud of an unknown scene shows a table.
        path: the HTML file.
        title: of the page.
    """
    shown = range(min(_SHOWN, len(grasps)))
    if request.item is None or verdicts is None:
        drawings = _draw_clouds(request, grasps, score, shown, hand, on_table)
    else:
        drawings = [_draw_tested(request, grasps, score, verdicts, i, hand) for i in shown]
    return write_page(title, [LAYERS, cards(drawings)], drawings, path)


def _draw_clouds(
    request: GraspRequest, grasps: Grasps, score: np.ndarray, shown: range, hand: Hand, on_table: bool
) -> list[Drawing]:
    T = upright(request.up, table_height(request.points, request.up) if on_table else 0.0)
    cloud = CloudView(request.points @ T[:3, :3].T + T[:3, 3], request.object_mask, on_table)
    poses = transform_grasps(grasps, T).hand_pose
    return [
        draw_cloud(
            cloud,
            ColoredHands(hand, poses[i : i + 1], [UNTESTED]),
            caption=f"grasp {i + 1}",
            detail=f"score {score[i]:.2f}",
        )
        for i in shown
    ]


def _draw_tested(
    request: GraspRequest, grasps: Grasps, score: np.ndarray, verdicts: VerdictTable, i: int, hand: Hand
) -> Drawing:
    assert request.item is not None
    item, outcome = request.item, Outcome(int(verdicts["outcome"][i]))
    color = outcome_color(outcome, bool(verdicts["clearance_m"][i] >= 0))
    return draw_scene(
        item.scene,
        item.view,
        item.target,
        ColoredHands(hand, grasps.hand_pose[i : i + 1], [color]),
        caption=f"grasp {i + 1}: {outcome.name.lower().replace('_', ' ')}",
        detail=f"score {score[i]:.2f}",
    )
