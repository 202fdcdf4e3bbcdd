from dataclasses import replace

import numpy as np
import pytest
import torch

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import check_names
from sceneleapultra.evaluation.methods.baselines import GeneratorAttempts, NearestObject, RandomTrainingGrasp
from sceneleapultra.evaluation.methods.model import other_model
from sceneleapultra.evaluation.methods.nearest_view import NearestView
from sceneleapultra.evaluation.methods.training_index import TrainingIndex, transform_grasps, turn_about_z
from sceneleapultra.evaluation.methods.view_matching import Matching, chamfer
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.records import Grasps, Scene, SceneRecord, View

SETTINGS = {
    "matching": Matching(points=96, coarse_points=32, shortlist=3, turns=24, refined=3, alignment_steps=10),
    "keep_height": False,
    "competing": 1,
    "depth_weight": 0.0,
    "tolerance_m": 0.002,
}


@pytest.fixture(scope="module")
def pool(training_records: list[SceneRecord]) -> TrainingIndex:
    return TrainingIndex.from_records(training_records)


@pytest.fixture(scope="module")
def hand() -> Hand:
    return load_hand("leap_right")


def item_of(record: SceneRecord, index: int = 0) -> Item:
    return Item(index, "test", record.scene, 0, record.views[0])


def moved_item(record: SceneRecord, T: np.ndarray) -> Item:
    view = record.views[0]
    points = (view.points @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    scene = Scene(record.scene.objects, T @ record.scene.T_world_object, True)
    return Item(0, "test", scene, 0, View(view.T_world_cam, view.K, points, view.rgb, view.instance))


def same_grasp(a: Grasps, b: Grasps, tolerance: float) -> np.ndarray:
    """Which grasp of ``b`` each of ``a`` is, -1 for none; quaternions up to sign."""
    sign = np.sign(np.einsum("ik,jk->ij", a.hand_pose[:, -4:], b.hand_pose[:, -4:]))
    quaternion = np.abs(a.hand_pose[:, None, -4:] - sign[..., None] * b.hand_pose[None, :, -4:]).max(-1)
    rest = np.abs(a.hand_pose[:, None, :-4] - b.hand_pose[None, :, :-4]).max(-1)
    error = np.maximum(rest, quaternion)
    return np.where(error.min(1) < tolerance, error.argmin(1), -1)


def test_the_pool_holds_successes_only(pool: TrainingIndex, training_records: list[SceneRecord]):
    assert [len(entry.grasps) for entry in pool.objects] == [3] * len(training_records)
    qpos, pregrasp = pool.mean_qpos()
    np.testing.assert_allclose(qpos - pregrasp, 0.1)


def test_an_empty_pool_is_refused():
    with pytest.raises(ValueError, match="no successful grasp"):
        TrainingIndex.from_records([])


@pytest.mark.parametrize("number", range(5))
def test_a_training_view_returns_its_own_grasps_in_place(hand, pool, training_records, number):
    record = training_records[number]
    baseline = NearestView(hand=hand, pool=pool, seed=0, **SETTINGS)
    item = item_of(record)
    (proposal,) = baseline.sample_items([item], 3)
    own = same_grasp(proposal.grasps, record.labeled[0].grasps, 1e-4)
    assert sorted(own) == [0, 1, 2]
    assert np.isnan(proposal.score).all()


@pytest.mark.parametrize("yaw", [0.4, 2.0, -2.9])
def test_a_moved_view_moves_its_grasps_along(hand, pool, training_records, yaw):
    record = training_records[1]
    T = turn_about_z(yaw, np.zeros(3), np.array([0.3, -0.1, 0.0]))
    (proposal,) = NearestView(hand=hand, pool=pool, seed=0, **SETTINGS).sample_items(
        [moved_item(record, T)], 3
    )
    expected = transform_grasps(record.labeled[0].grasps, T)
    assert sorted(same_grasp(proposal.grasps, expected, 2e-3)) == [0, 1, 2]


def test_more_grasps_come_from_the_next_nearest(hand, pool, training_records):
    (proposal,) = NearestView(hand=hand, pool=pool, seed=0, **SETTINGS).sample_items(
        [item_of(training_records[2])], 5
    )
    assert len(proposal.grasps) == 5
    assert (same_grasp(proposal.grasps, training_records[2].labeled[0].grasps, 1e-4) >= 0).sum() == 3


def test_kept_height_is_kept(hand, pool, training_records):
    record = training_records[1]
    lifted = np.eye(4)
    lifted[2, 3] = 0.02
    for keep, height in ((True, 0.0), (False, 0.02)):
        baseline = NearestView(hand=hand, pool=pool, seed=0, **{**SETTINGS, "keep_height": keep})
        (match, *_) = baseline.matcher.matches(moved_item(record, lifted).target_points, on_table=True)
        assert match.T_test_train[2, 3] == pytest.approx(height, abs=1e-3)


def test_grasps_deep_in_seen_points_come_last(hand, pool, training_records):
    item = item_of(training_records[0])
    settings = {**SETTINGS, "competing": 3, "depth_weight": 100.0}
    baseline = NearestView(hand=hand, pool=pool, seed=0, **settings)
    (proposal,) = baseline.sample_items([item], 9)
    depth = baseline._depth(proposal.grasps, item)
    assert depth.max() > 0.005
    assert (np.diff(depth) >= -1e-3).all()


def test_chamfer_of_two_points_and_one():
    a = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    b = torch.tensor([[0.0, 0.0, 1.0]])
    # a to b: 1 and sqrt(10); b to a: 1.
    assert float(chamfer(a, b)) == pytest.approx(((1 + 10**0.5) / 2 + 1) / 2)


def test_nearest_object_transplants_in_the_objects_own_frame(pool, training_records):
    record = training_records[3]
    T = turn_about_z(1.1, np.zeros(3), np.array([0.3, -0.1, 0.2]))
    (proposal,) = NearestObject(pool=pool, seed=0).sample_items([moved_item(record, T)], 3)
    assert sorted(same_grasp(proposal.grasps, transform_grasps(record.labeled[0].grasps, T), 1e-9)) == [
        0,
        1,
        2,
    ]


def test_random_training_grasps_keep_their_height_over_the_center(pool, training_records):
    item = item_of(training_records[0], index=3)
    baseline = RandomTrainingGrasp(pool=pool, seed=0)
    (proposal,) = baseline.sample_items([item], 50)
    offset = proposal.grasps.hand_pose[:, 2] - item.T_world_object[2, 3]
    known = [z for entry in pool.objects for z in entry.grasps.hand_pose[:, 2] - entry.T_world_object[2, 3]]
    assert np.abs(offset[:, None] - np.array(known)[None]).min(1).max() < 1e-9
    (again,) = baseline.sample_items([item], 50)
    np.testing.assert_array_equal(again.grasps.hand_pose, proposal.grasps.hand_pose)


def test_the_generator_offers_failures_too(training_records):
    record = training_records[0]
    item = replace(item_of(record), attempts=record.labeled[0].grasps)
    (some,) = GeneratorAttempts(seed=0).sample_items([item], 3)
    assert len(set(same_grasp(some.grasps, record.labeled[0].grasps, 1e-9))) == 3
    (every,) = GeneratorAttempts(seed=0).sample_items([item], 9)
    assert len(every.grasps) == 4  # no more than were tested
    with pytest.raises(ValueError, match="comes from no store"):
        GeneratorAttempts(seed=0).sample_items([item_of(record)], 1)


def test_another_model_is_a_baseline_of_its_own_name_and_of_the_same_hand(hand: Hand) -> None:
    settings = {"checkpoint": "leap_table", "name": "shipped", "sampling": {"guidance": "none"}, "seed": 3}
    method = other_model(**settings, hand=hand, device="cpu")
    assert (method.name, method.role) == ("shipped", Role.BASELINE)
    assert method.sampling.guidance.describe() != method.model.generator.sampling.guidance.describe()
    other = Hand(replace(hand.description, name="other"))
    with pytest.raises(ValueError, match="is a model of the hand leap_right, the test's is other"):
        other_model(**settings, hand=other, device="cpu")


def test_every_method_has_a_row_of_its_own() -> None:
    one, other = GeneratorAttempts(seed=0), GeneratorAttempts(seed=1)
    check_names([one])
    with pytest.raises(
        ValueError, match=r"two methods are called 'generator, its tries', and results are kept by"
    ):
        check_names([one, other])
