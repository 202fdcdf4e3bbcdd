"""Is each mistake with a camera refused or warned of, and a right call neither?"""

from typing import Any

import numpy as np
import pytest

from factories.camera_view import ONE, TWO, CameraView, camera_view
from sceneleapultra.utils.requests import SHIPPED_VIEWS, GraspRequest, LearnedViews, Target
from sceneleapultra.utils.requests.checks import check_request

SPAN_M = 0.246  # of a LEAP hand
VIEW = camera_view(TWO)
FLIP = np.array([1.0, -1.0, -1.0])


def check(request: GraspRequest) -> tuple[str, ...]:
    return check_request(request, SHIPPED_VIEWS, span_m=SPAN_M)


def cloud(points: np.ndarray | None = None, **settings: Any) -> GraspRequest:
    points = (VIEW.points if points is None else points).reshape(-1, 3)
    settings = {"up": VIEW.up, **settings}
    mask = settings.pop("mask", VIEW.box.ravel() == 0)
    return GraspRequest.from_points(points, target=Target(mask=mask), **settings)


@pytest.mark.parametrize("tilt_deg", [25.0, 40.0, 55.0, 70.0])
@pytest.mark.parametrize("boxes", [ONE, TWO])
def test_a_right_call_is_not_remarked_on(boxes: Any, tilt_deg: float) -> None:
    view = camera_view(boxes, tilt_deg=tilt_deg)
    for up in (None, view.up):
        for target in (Target(mask=view.box == 0), Target(pixel=view.pixel(0))):
            assert check(GraspRequest.from_depth(view.depth, view.K, target=target, up=up)) == ()


def world(view: CameraView) -> tuple[np.ndarray, np.ndarray]:
    """Return the cloud with z up, and where its camera is."""
    tilt = np.arcsin(-view.up[2])
    R = np.array([[1, 0, 0], [0, -np.sin(tilt), np.cos(tilt)], [0, -np.cos(tilt), -np.sin(tilt)]])
    eye = np.array([0.3, 0.1, view.height_m])
    return view.points.reshape(-1, 3) @ R.T + eye, eye


def test_neither_is_a_right_call_in_another_frame() -> None:
    points, eye = world(VIEW)
    assert check(cloud(points, up=(0, 0, 1), viewpoint=eye)) == ()
    assert check(cloud(points, up=None, viewpoint=eye)) == ()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"up": (0.0, -1.0, 0.0)}, r"up = \(0, -1, 0\) is 40° off the table's, \(.*\), expected at most 8°"),
        ({"points": VIEW.points * FLIP, "up": None}, r"100 % of the points have z < 0.*RealSense Viewer"),
        (
            {"viewpoint": (0.0, 0.0, -5.0)},
            r"the camera's distance is 5\.\d+ m; the model learned from 0.38 to 0.78 m",
        ),
        ({"points": VIEW.points * 0.1}, r"largest extent is 1\.\d+ cm; the model learned from 4.5 to 18 cm"),
        ({"points": VIEW.points * 2.0}, r"the camera's distance is 1\.\d+ m; the model learned"),
    ],
)
def test_what_is_odd_is_said_with_both_numbers(settings: dict[str, Any], sentence: str) -> None:
    import re

    warnings = check(cloud(**settings))
    assert any(re.search(sentence, warning) for warning in warnings), warnings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"points": VIEW.points * FLIP, "up": (0.0, -1.0, 0.0)},
            r"The camera at .* is 0\.\d+ m under the table",
        ),
        ({"up": -VIEW.up}, r"The camera at \(0, 0, 0\) is 0\.\d+ m under the table, by up = "),
        ({"mask": VIEW.box.ravel() != 0}, r"span \d+ x \d+ cm; the hand spans 25 cm\. Is the mask inverted"),
        ({"points": VIEW.points * 4.0}, r"span \d+ x \d+ cm; the hand spans 25 cm"),
        ({"points": VIEW.points * 0.001}, "Points must be in metres|points must be in metres"),
        ({"points": VIEW.points * 1000.0}, "Points must be in metres: divide millimetres by 1000"),
        ({"points": np.full((19200, 3), 0.5), "up": (0, 0, 1)}, "all 19,200 points are one and the same"),
        ({"up": (0.0, 0.0, 0.0)}, r"up must point against gravity, got \(0.0, 0.0, 0.0\)\. Leave it away"),
        ({"up": (0.0, float("nan"), 0.0)}, "up: expected three finite numbers"),
        ({"viewpoint": (0.0, 0.0, float("nan"))}, "viewpoint: expected three finite numbers"),
        (
            {"points": np.full((19200, 3), np.nan)},
            r"none of 19,200 points holds a surface \(19,200 not finite\)\.$",
        ),
    ],
)
def test_what_is_impossible_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check(cloud(**settings))


def test_an_object_under_its_table() -> None:
    points, eye = world(VIEW)
    below = points.copy()
    below[VIEW.box.ravel() == 0, 2] -= 0.15
    with pytest.raises(ValueError, match=r"100 % of the object's points lie more than 1 cm under the table"):
        check(cloud(below, up=(0, 0, 1), viewpoint=eye))


def test_a_viewpoint_on_another_side_sees_through_what_is_in_front() -> None:
    points, eye = world(VIEW)
    warnings = check(cloud(points, up=(0, 0, 1), viewpoint=(eye[0], -eye[1] + 2 * 0.65, eye[2])))
    assert any("hidden behind others as seen from the viewpoint" in warning for warning in warnings), warnings


def test_points_behind_the_camera_and_at_its_center_are_left_out() -> None:
    points = VIEW.points.reshape(-1, 3).copy()
    points[:7], points[7:20, 2] = 0.0, -1.0
    request = cloud(points)
    assert request.points[:, 2].min() > 0.0
    assert "7 at 0" in request.notes[0] and "13 behind the camera" in request.notes[0]


def test_what_was_learned_travels_as_plain_containers() -> None:
    assert LearnedViews.from_dict(SHIPPED_VIEWS.to_dict()) == SHIPPED_VIEWS
