"""Where nobody names the object, the one is chosen whose best grasp is the likeliest to succeed."""

from dataclasses import replace

import numpy as np
import pytest

from factories.camera_view import TWO, camera_view
from factories.models import small_generator
from factories.shipped import LEAP_TABLE
from factories.views import CLOUD
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.network.heads.anchors import AnchorHeadConfig
from sceneleapultra.utils.requests import GraspRequest, Target

FEW = {"sampling": {"steps": 2, "guidance": "none"}, "seed": 3}


@pytest.fixture(scope="module")
def model() -> GraspModel:
    return load_grasp_model("leap_table")


@pytest.fixture(scope="module")
def request_of_two() -> GraspRequest:
    view = camera_view(TWO)
    return GraspRequest.from_depth(view.depth, view.K, target=Target(number=2))


def test_objects_are_those_that_numbers_name(request_of_two: GraspRequest) -> None:
    view = camera_view(TWO)
    objects = request_of_two.objects()
    assert len(objects) == 2
    for number, one in enumerate(objects, start=1):
        named = GraspRequest.from_depth(view.depth, view.K, target=Target(number=number))
        np.testing.assert_array_equal(one.object_mask, named.object_mask)
        np.testing.assert_array_equal(one.up, request_of_two.up)


def test_the_object_of_the_best_grasp_is_chosen(model: GraspModel, request_of_two: GraspRequest) -> None:
    alone = [model.sample_request(one, 6, **FEW) for one in request_of_two.objects()]
    chosen, made = model.sample_any(request_of_two, 6, **FEW)
    best = int(np.argmax([one.p_success.max() for one in alone if one.p_success is not None]))
    np.testing.assert_array_equal(chosen.object_mask, request_of_two.objects()[best].object_mask)
    np.testing.assert_array_equal(made.hand_pose, alone[best].hand_pose)


def test_the_best_that_differ_keep_all_that_is_known_of_them(
    model: GraspModel, request_of_two: GraspRequest
) -> None:
    made = model.sample_request(request_of_two, 6, trajectory=True, **FEW)
    best = made.best(3)
    rows = [int(np.flatnonzero((made.hand_pose == pose).all(1))[0]) for pose in best.hand_pose]
    assert rows[0] == made.score.argmax() and len(best) == 3
    for name in ("squeeze_qpos", "score", "p_stable", "p_collision_free", "clearance_m"):
        np.testing.assert_array_equal(getattr(best, name), getattr(made, name)[rows])
    assert best.trajectory is not None and made.trajectory is not None
    np.testing.assert_array_equal(best.trajectory, made.trajectory[:, rows])


def test_nothing_to_grasp_is_said(model: GraspModel) -> None:
    view = camera_view()
    seen = GraspRequest.from_depth(view.depth, view.K)
    table = view.box[np.isfinite(view.depth)] < 0
    flat = replace(seen, points=seen.points[table], object_mask=np.ones(table.sum(), bool))
    with pytest.raises(
        ValueError, match=r"No object of this cloud can be grasped:\nNone stands out of the table\."
    ):
        model.sample_any(flat, 4)


def test_a_model_that_knows_no_odds_cannot_choose(request_of_two: GraspRequest) -> None:
    heads = {"anchors": AnchorHeadConfig()}
    model = GraspModel(generator=small_generator(heads=heads), cloud_settings=CLOUD)
    with pytest.raises(ValueError, match="Choosing an object needs a score head"):
        model.sample_any(request_of_two, 2)


def test_a_setting_that_the_model_cannot_have_is_said_once(
    request_of_two: GraspRequest,
) -> None:
    with pytest.raises(ValueError, match=r"^sampling\.graspness=2 needs a model with the head graspness"):
        load_grasp_model(LEAP_TABLE).sample_any(request_of_two, 2, sampling={"graspness": 2.0})
