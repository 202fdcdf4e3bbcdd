"""Is the object found that a pixel, a point, a box or a number names; and asked for where several stand there?"""

from typing import Any

import numpy as np
import pytest

from factories.camera_view import ONE, TWO, CameraView, camera_view
from sceneleapultra.utils.requests import GraspRequest, SensorCloud, Target

VIEW = camera_view(TWO)
LARGE, SMALL = 0, 1


def marked(view: CameraView, target: Target | None, **settings: Any) -> np.ndarray:
    """Return the mask as an image."""
    request = GraspRequest.from_depth(view.depth, view.K, target=target, **settings)
    image = np.zeros(view.depth.shape, bool)
    image[np.isfinite(view.depth)] = request.object_mask
    return image


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    return float((found & expected).sum() / (found | expected).sum())


def near(box: int) -> tuple[float, float, float]:
    u, v = VIEW.pixel(box)
    x, y, z = VIEW.points[v, u]
    return x, y, z


def pixels(box: int) -> tuple[float, ...]:
    rows, columns = np.nonzero(VIEW.box == box)
    return (columns.min() - 2.0, rows.min() - 2.0, columns.max() + 2.0, rows.max() + 2.0)


def space(box: int) -> tuple[float, ...]:
    points = VIEW.points[VIEW.box == box]
    return (*(points.min(0) - 0.005), *(points.max(0) + 0.005))


@pytest.mark.parametrize("box", [LARGE, SMALL])
@pytest.mark.parametrize("kind", ["pixel", "at", "box of pixels", "box of space", "number"])
def test_the_named_object(box: int, kind: str) -> None:
    target = {
        "pixel": Target(pixel=VIEW.pixel(box)),
        "at": Target(at=near(box)),
        "box of pixels": Target(box=pixels(box)),
        "box of space": Target(box=space(box)),
        "number": Target(number=box + 1),  # the one with most points first
    }[kind]
    assert overlap(marked(VIEW, target), VIEW.box == box) > 0.85


def test_a_box_takes_its_largest_object_even_where_another_reaches_in() -> None:
    u0, v0, u1, v1 = pixels(SMALL)
    found = marked(VIEW, Target(box=(u0 - 4.0, v0, u1, v1)))
    assert overlap(found, VIEW.box == SMALL) > 0.85


def test_the_only_object_needs_no_name() -> None:
    view = camera_view(ONE)
    assert overlap(marked(view, None), view.box == 0) > 0.85
    assert overlap(marked(view, None, up=view.up), view.box == 0) > 0.85


def test_several_objects_are_listed() -> None:
    with pytest.raises(ValueError) as caught:
        marked(VIEW, None)
    first, one, two = str(caught.value).splitlines()
    assert first.startswith("2 objects stand on the table. Name one: --object N, --pixel U V, --at X Y Z")
    u, v = VIEW.pixel(LARGE)
    assert one.startswith("  1: ") and " cm at (" in one and two.startswith("  2: ")
    listed = [int(word) for word in one.partition("pixel ")[2].partition(",")[0].split()]
    assert abs(listed[0] - u) <= 3 and abs(listed[1] - v) <= 3


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (Target(number=3), r"--object 3: expected 1 to 2\.\n  1: "),
        (Target(pixel=(20, 100)), r"--pixel 20 100 shows the table \(.*The objects are:\n  1: "),
        (Target(pixel=(160, 3)), r"lies outside the image of depth: 160 x 120 pixels"),
        (
            Target(at=(1.0, 1.0, 1.0)),
            r"--at 1 1 1: the nearest point of depth is .* m away, expected at most 0.03 m",
        ),
        (Target(box=(0.0, 100.0, 20.0, 119.0)), "are above the table, and they make no object"),
        (Target(box=(5.0, 5.0, 5.0, 6.0, 6.0, 6.0)), r"holds none of the .* points"),
        (Target(mask=np.zeros(VIEW.depth.shape, bool)), "object_mask marks 0 of 19,200 points"),
        (Target(mask=np.isnan(VIEW.depth)), "none of them with a surface"),
        (
            Target(mask=np.ones(7, bool)),
            r"expected booleans, one per point, shape \(120, 160\); got bool of shape \(7,\)",
        ),
        (
            Target(mask=np.where(VIEW.box == 0, 3.0, -4.0)),
            r"float64 with the values -4, 3\. Compare it first",
        ),
        (
            Target(mask=VIEW.box + 1),
            r"int64 with the values 0, 1, 2\. Compare it first, for example labels == 2",
        ),
    ],
)
def test_what_names_no_object(target: Target, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        marked(VIEW, target)


def test_zero_and_one_are_booleans() -> None:
    for kind in (np.uint8, np.int64, np.float32):
        mask = marked(VIEW, Target(mask=(VIEW.box == 1).astype(kind)))
        np.testing.assert_array_equal(mask, (VIEW.box == 1) & np.isfinite(VIEW.depth))


def test_one_answer_only() -> None:
    with pytest.raises(ValueError, match="--pixel and --object both name the object"):
        Target(pixel=(1, 2), number=3)
    with pytest.raises(ValueError, match=r"expected two corners, .* got 5 numbers"):
        Target(box=(1.0, 2.0, 3.0, 4.0, 5.0))
    with pytest.raises(ValueError, match="--at: expected finite numbers"):
        Target(at=(0.0, float("nan"), 0.0))


def test_a_list_of_points_has_no_pixels() -> None:
    points = VIEW.points.reshape(-1, 3)
    with pytest.raises(ValueError, match="--pixel needs an image"):
        GraspRequest.from_points(points, target=Target(pixel=(3, 3)))
    request = GraspRequest.from_points(points, target=Target(at=near(SMALL)))
    assert request.object_mask.sum() > 50


@pytest.mark.parametrize("target", [None, Target(mask=VIEW.box == SMALL), Target(pixel=VIEW.pixel(SMALL))])
def test_a_name_goes_before_the_mask_in_a_file(target: Target | None) -> None:
    cloud = SensorCloud(points=VIEW.points, mask=VIEW.box == LARGE)
    found = GraspRequest.of(cloud, target=target)
    expected = VIEW.box[np.isfinite(VIEW.depth)] == (LARGE if target is None else SMALL)
    assert overlap(found.object_mask, expected) > 0.85


def test_an_empty_table_has_no_object() -> None:
    view = camera_view(())
    with pytest.raises(ValueError, match="No object stands out of the table in depth: 0 of"):
        marked(view, None)
