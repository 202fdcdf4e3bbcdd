"""Can grasps be made for a request? What is impossible is refused; what is odd is said with both numbers."""

import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.requests.cells import cells_of
from sceneleapultra.utils.requests.learned import BELOW_M, LearnedViews, Range, ViewNumbers
from sceneleapultra.utils.requests.request import GraspRequest, level_plane
from sceneleapultra.utils.requests.sensor_cloud import is_own_camera

_LEAST_EXTENT_M = 0.005
_SLACK = 1.25  # beyond what was learned by this factor, or below by it, is odd
_UP_DEG = 8.0  # between up as given and the table's
_ELEVATION_SLACK_DEG = 10.0
_FLIPPED_SHARE = 0.95  # of the points have z < 0 in a camera's frame
_HIDDEN_SHARE, _CELL_RAD, _BEHIND_M = 0.15, np.deg2rad(0.7), 0.03


def check_request(request: GraspRequest, learned: LearnedViews, *, span_m: float) -> tuple[str, ...]:
    """Return what is odd about a request, each with what was found and what was expected.

    Args:
        request: with its target.
        learned: what the model's views were like.
        span_m: of the hand: nothing that extends further in two directions can be grasped.

    Raises:
        ValueError: no grasp can be made: the object is too small, too large, or lies under its table; the camera does.
    """
    plane = level_plane(request)
    numbers = ViewNumbers.of(request, plane)
    _refuse_impossible(request, numbers, span_m)
    warnings = [*_up_warnings(request), *_frame_warnings(request)]
    size, share = numbers.extents_m[0], numbers.target_share
    cm, percent = 100.0, 100.0
    warnings += _outside("the object's largest extent", size, learned.extent_m, cm, "cm", "units, the mask")
    warnings += _outside(
        "the object's share of the points around it", share, learned.target_share, percent, "%", "the mask"
    )
    warnings += _outside(
        "the camera's distance", numbers.distance_m, learned.distance_m, 1.0, "m", "viewpoint, units"
    )
    if request.table is not None:
        warnings += _outside(
            "the object's top above the table", numbers.top_m, learned.top_m, cm, "cm", "up, the mask"
        )
        low, high = learned.elevation_deg
        if not low - _ELEVATION_SLACK_DEG <= numbers.elevation_deg <= high + _ELEVATION_SLACK_DEG:
            warnings.append(
                f"the camera looks at the object from {numbers.elevation_deg:.0f}° above the table; the model "
                f"learned from {low:.0f} to {high:.0f}°. Check up and viewpoint."
            )
    return tuple(warnings)


def _refuse_impossible(request: GraspRequest, numbers: ViewNumbers, span_m: float) -> None:
    largest, second = numbers.extents_m[:2]
    marked = f"object_mask marks {int(request.object_mask.sum()):,} of {len(request.points):,} points"
    if largest < _LEAST_EXTENT_M:
        raise ValueError(
            f"{marked}, which span {1e3 * largest:.2g} mm: points must be in metres, and an object larger than "
            f"{1e3 * _LEAST_EXTENT_M:.0f} mm."
        )
    if second > span_m:
        raise ValueError(
            f"{marked}, which span {100 * largest:.0f} x {100 * second:.0f} cm; the hand spans {100 * span_m:.0f} "
            "cm. Is the mask inverted, is the table in it, or are the points not in metres (divide millimetres by "
            "1000)?"
        )
    if request.table is None:
        return
    if numbers.camera_height_m <= 0.0:
        raise ValueError(
            f"The camera at ({_words(request.viewpoint)}) is {-numbers.camera_height_m:.2f} m under the table, by up "
            f"= ({_words(request.up)}). Turn up around, or pass the right viewpoint; without up it is measured."
        )
    if numbers.below_share > 0.5:
        raise ValueError(
            f"{100 * numbers.below_share:.0f} % of the object's points lie more than {100 * BELOW_M:.0f} cm under "
            f"the table, by up = ({_words(request.up)}). Is up right, and the mask? Without up it is measured."
        )


def _up_warnings(request: GraspRequest) -> list[str]:
    if request.table is None:
        return []
    angle = np.rad2deg(np.arccos(np.clip(request.up @ request.table.up, -1.0, 1.0)))
    if angle <= _UP_DEG:
        return []
    return [
        f"up = ({_words(request.up)}) is {angle:.0f}° off the table's, ({_words(request.table.up)}), expected at most "
        f"{_UP_DEG:.0f}°. Leave up away to take the measured one."
    ]


def _frame_warnings(request: GraspRequest) -> list[str]:
    """Say where points do not lie before their camera, or hide one another from it."""
    if is_own_camera(request.viewpoint):
        behind = float((request.points[:, 2] < 0).mean())
        if behind > _FLIPPED_SHARE:
            return [
                f"{100 * behind:.0f} % of the points have z < 0, expected z > 0 before a camera (x right, y down, z "
                "forward): y and z are negated, as RealSense Viewer writes its .ply files. Grasps come out in "
                "the file's own frame; negate y and z to have them in the camera's."
            ]
    hidden = _hidden_share(request)
    if hidden > _HIDDEN_SHARE:
        return [
            f"{100 * hidden:.0f} % of the object's points are hidden behind others as seen from the viewpoint "
            f"({_words(request.viewpoint)}), expected below {100 * _HIDDEN_SHARE:.0f} %: one camera sees "
            "one surface. Is it the center of the camera, in the frame of the cloud?"
        ]
    return []


def _hidden_share(request: GraspRequest) -> float:
    """Return the share of the target's points behind others of the cloud, in cells of directions from the viewpoint."""
    rays = request.points - request.viewpoint
    distance = np.linalg.norm(rays, axis=1)
    axis = rays[request.object_mask].mean(0)
    axis /= max(float(np.linalg.norm(axis)), 1e-9)
    along = rays @ axis
    ahead = along > 0.5 * distance
    if not ahead[request.object_mask].any():
        return 1.0
    side = np.linalg.svd(axis[None])[2][1:]
    directions = np.pad((rays[ahead] @ side.T) / along[ahead, None], ((0, 0), (0, 1)))
    owner = cells_of(directions, _CELL_RAD).owner
    nearest = np.full(owner.max() + 1, np.inf)
    np.minimum.at(nearest, owner, distance[ahead])
    hidden = distance[ahead] > nearest[owner] + _BEHIND_M
    return float(hidden[request.object_mask[ahead]].mean())


def _outside(what: str, value: float, learned: Range, factor: float, unit: str, check: str) -> list[str]:
    low, high = learned
    if low / _SLACK <= value <= high * _SLACK:
        return []
    return [
        f"{what} is {factor * value:.3g} {unit}; the model learned from {factor * low:.2g} to {factor * high:.2g} "
        f"{unit}. Check {check}."
    ]


def _words(values: Float[np.ndarray, "3"]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
