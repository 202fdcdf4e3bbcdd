"""The page of predicted grasps: every grasp in 3D, best score first."""

from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.training_index import transform_grasps
from sceneleapultra.hands import Hand
from sceneleapultra.models.sampled_grasps import SampledGrasps
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
from sceneleapultra.utils.records import Grasps, Outcome
from sceneleapultra.utils.requests import GraspRequest
from sceneleapultra.utils.requests.request import level_plane
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
        drawings = _draw_clouds(request, made, grasps, shown, hand)
    else:
        drawings = [_draw_tested(*tested, grasps, i, _expected(made, i), hand) for i in shown]
    remarks = "".join(f"<p>{escape(text)}</p>" for text in (*request.notes, *made.warnings))
    return write_page(title, [remarks, LAYERS, cards(drawings)], drawings, path)


def _draw_clouds(
    request: GraspRequest, made: SampledGrasps, grasps: Grasps, shown: range, hand: Hand
) -> list[Drawing]:
    on_table = request.table is not None
    center = request.target_points.mean(0, dtype=np.float64)
    # The page's origin is under the object: a cloud may be in a map's coordinates.
    T = upright(request.up, center, level_plane(request).height_of(center) if on_table else 0.0)
    cloud = CloudView(request.points @ T[:3, :3].T + T[:3, 3], request.object_mask, on_table)
    poses = transform_grasps(grasps, T).hand_pose
    return [
        draw_cloud(
            cloud,
            ColoredHands(hand, poses[i : i + 1], [UNTESTED]),
            caption=f"grasp {i + 1}",
            detail=_expected(made, i),
        )
        for i in shown
    ]


def _expected(made: SampledGrasps, i: int) -> str:
    """Say what is known of a grasp without a test."""
    believed = (
        f"score {made.score[i]:.2f}"
        if made.p_success is None
        else f"{100 * made.p_success[i]:.0f} % expected to succeed"
    )
    return f"{believed}, {1e3 * made.clearance_m[i]:.0f} mm from what was seen beside the object"


def upright(
    up: Float[np.ndarray, "3"], center: Float[np.ndarray, "3"], height: float
) -> Float[np.ndarray, "4 4"]:
    """Return the rigid motion that makes ``up`` the z axis and puts ``center`` at (0, 0, ``height``)."""
    T = np.eye(4)
    T[:3, :3] = Rotation.align_vectors([[0.0, 0.0, 1.0]], [up])[0].as_matrix()
    T[:3, 3] = np.array([0.0, 0.0, height]) - T[:3, :3] @ center
    return T


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
