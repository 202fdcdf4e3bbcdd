"""Is an item what the network is promised: fair prefixes, one frame, successes before failures, masks for the rest?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from factories.records import item_settings, scene_record
from sceneleapultra.datasets.items.collate import collate
from sceneleapultra.datasets.items.grasp_pool import build_pool, sample_grasps
from sceneleapultra.datasets.items.item_cloud import build_cloud
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy
from sceneleapultra.utils.records import Grasps, LabeledGrasps


def item(target: int = 0, seed: int = 0, record=None, **changes):
    record = scene_record(0) if record is None else record
    settings = item_settings(**changes)
    pool = build_pool(record.labeled[target], settings.grasps)
    grasps = sample_grasps(pool, settings.grasps, None, np.random.default_rng([0, seed]))
    cloud = build_cloud(
        record.views[0], target, settings.cloud, np.random.default_rng(seed), colors=settings.colors
    )
    batch = collate([cloud], [grasps], settings.grasps.number)
    values = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    return {name: v[0].numpy() for name, v in values.items() if isinstance(v, torch.Tensor)}


def in_world(values, points):
    T = values["T_world_frame"]
    return points @ T[:3, :3].T + T[:3, 3]


@pytest.mark.parametrize("target", [0, 1])
def test_the_cloud_is_the_target_and_its_surroundings_in_order(target):
    view, values = scene_record(0).views[0], item(target)
    points, mask = in_world(values, values["scene_pc"]), values["object_mask"]
    block = view.points[view.instance == target + 1]
    # 60 of 100 points, in the order of the block: a prefix of a farthest-point order.
    assert mask.sum() == 60 and values["point_valid"].all()
    assert_allclose(points[mask], block[:60], atol=1e-6)
    center = block.mean(0)
    near = view.points[np.linalg.norm(view.points - center, axis=1) <= 0.2]
    rest = points[~mask]
    distance = np.linalg.norm(rest[:, None] - near[None], axis=-1).min(1)
    assert distance.max() < 1e-6, "every other point is one of the scene within the radius"


def test_every_prefix_holds_its_share_of_the_target():
    mask = item()["object_mask"]
    counts = np.cumsum(mask)
    n = np.arange(1, len(mask) + 1)
    assert np.abs(counts - 0.6 * n).max() <= 1.0


def test_the_rest_is_in_farthest_point_order_whatever_it_belongs_to():
    view, values = scene_record(0).views[0], item()
    center = view.points[view.instance == 1].mean(0)
    rest = view.points[(view.instance != 1) & (np.linalg.norm(view.points - center, axis=1) <= 0.2)]
    expected = rest[farthest_point_order_numpy(rest, 40)]
    assert_allclose(in_world(values, values["scene_pc"])[~values["object_mask"]], expected, atol=1e-6)


def test_each_point_has_its_class():
    view, values = scene_record(0).views[0], item(num_points=2000)
    valid = values["point_valid"]
    points = in_world(values, values["scene_pc"][valid])
    nearest = np.linalg.norm(points[:, None] - view.points[None], axis=-1).argmin(1)
    # The target is instance 1; the table, instance 0, and the other object stay what they are.
    assert_array_equal(values["point_class"][valid], view.instance[nearest])
    assert_array_equal(values["point_class"] == 1, values["object_mask"])
    assert (values["point_class"][~valid] == 255).all() and (~valid).any()


def test_the_frame_stands_on_the_table_below_the_target():
    view, values = scene_record(0).views[0], item()
    T = values["T_world_frame"]
    assert_allclose(T[:3, :3], np.eye(3))
    assert T[2, 3] == 0.0
    assert_allclose(values["scene_pc"][values["object_mask"], :2].mean(0), 0.0, atol=1e-6)
    assert_allclose(in_world(values, values["viewpoint"]), view.T_world_cam[:3, 3], atol=1e-6)
    assert_array_equal(values["up"], [0, 0, 1])


def test_a_short_cloud_is_masked_not_repeated():
    view = scene_record(0).views[0]
    values = item(num_points=2000)
    num = int(values["point_valid"].sum())
    assert 200 < num < len(view.points)
    assert_array_equal(values["point_valid"], np.arange(2000) < num)
    assert_array_equal(values["scene_pc"][num:], 0.0)
    assert values["object_mask"].sum() == 200 and not values["object_mask"][num:].any()
    assert len(np.unique(values["scene_pc"][:num], axis=0)) == num


def test_successes_come_first_then_failures():
    labeled = scene_record(0).labeled[0]
    values = item()
    assert_array_equal(values["grasp_success"], [True] * 4 + [False] * 2)
    assert values["grasp_valid"].all()
    stored = labeled.grasps.hand_pose.astype(np.float64)
    moved = values["hand_pose"].copy()
    moved[:, :3] = in_world(values, moved[:, :3])
    moved[:, -4:] *= np.sign(moved[:, -1:])
    stored[:, -4:] *= np.sign(stored[:, -1:])
    distance = np.abs(moved[:, None] - stored[None]).max(-1)
    rows = distance.argmin(1)
    assert distance.min(1).max() < 1e-6
    assert labeled.success[rows].tolist() == [True] * 4 + [False] * 2
    assert len(set(rows.tolist())) == 6
    assert_array_equal(values["pregrasp_qpos"], labeled.grasps.pregrasp_qpos[rows])
    assert_array_equal(values["squeeze_qpos"], labeled.grasps.squeeze_qpos[rows])
    assert_array_equal(values["grasp_robustness"], labeled.robustness[rows])


def test_too_few_grasps_are_masked():
    """Of 9 grasps 6 succeed: 8 + 5 slots hold 6 successes, 2 masked, 3 failures, 2 masked."""
    values = item(number=8, failures=5)
    assert values["grasp_valid"].tolist() == [True] * 6 + [False] * 2 + [True] * 3 + [False] * 2
    assert values["grasp_success"].tolist() == [True] * 6 + [False] * 7
    assert np.isfinite(values["hand_pose"]).all()
    assert_allclose(np.linalg.norm(values["hand_pose"][:, -4:], axis=1), 1.0, atol=1e-6)


def test_an_object_without_grasps_has_every_slot_masked():
    record = scene_record(0)
    labeled = record.labeled[0]
    g = labeled.grasps
    none = LabeledGrasps(
        Grasps(g.hand_pose[:0], g.pregrasp_qpos[:0], g.squeeze_qpos[:0]),
        **{n: getattr(labeled, n)[:0] for n in labeled.__dataclass_fields__ if n != "grasps"},
    )
    values = item(record=replace(record, labeled=(none, record.labeled[1])))
    assert values["hand_pose"].shape == (6, 23)
    assert not values["grasp_valid"].any() and not values["grasp_success"].any()


def test_fragile_successes_are_left_out_and_unmeasured_ones_kept():
    record = scene_record(0)
    labeled = record.labeled[0]
    robustness = np.full(9, np.nan, np.float32)
    good = np.flatnonzero(labeled.success)
    robustness[good[:3]] = [0.2, 0.5, 0.9]
    record = replace(record, labeled=(replace(labeled, robustness=robustness), record.labeled[1]))
    values = item(record=record, number=6, min_robustness=0.5)
    assert values["grasp_valid"][:6].sum() == 5
    kept = values["grasp_robustness"][:5]
    assert sorted(kept[~np.isnan(kept)].tolist()) == pytest.approx([0.5, 0.9])


def test_an_item_depends_on_its_generator_alone():
    first, again, other = (item(seed=s) for s in (1, 1, 2))
    for name, value in first.items():
        assert_array_equal(value, again[name])
    assert not np.array_equal(first["squeeze_qpos"], other["squeeze_qpos"])


def test_points_keep_their_colors():
    view, values = scene_record(0).views[0], item(colors=True)
    points = in_world(values, values["scene_pc"])
    nearest = np.linalg.norm(points[:, None] - view.points[None], axis=-1).argmin(1)
    assert_array_equal(values["scene_rgb"], view.rgb[nearest])
    assert "scene_rgb" not in item()


@pytest.mark.parametrize("column", [0, 5, -1])
def test_a_grasp_that_is_no_number_is_refused(column):
    record = scene_record(0)
    record.labeled[0].grasps.hand_pose[3, column] = np.nan
    with pytest.raises(ValueError, match="Grasps hold values that are not finite numbers"):
        item(record=record)


def test_a_quaternion_that_is_no_rotation_is_refused():
    record = scene_record(0)
    record.labeled[0].grasps.hand_pose[3, -4:] *= 1.1
    with pytest.raises(ValueError, match="quaternions that are not of unit length"):
        item(record=record)


def test_a_point_that_is_no_number_is_refused():
    record = scene_record(0)
    record.views[0].points[7] = np.inf
    with pytest.raises(ValueError, match=r"scene_pc has 1 points with NaN or infinity"):
        item(record=record)


def test_a_hidden_target_is_refused():
    record = scene_record(0)
    view = record.views[0]
    seen = view.instance != 1
    hidden = replace(view, points=view.points[seen], rgb=view.rgb[seen], instance=view.instance[seen])
    with pytest.raises(ValueError, match="Object 0 has no visible point"):
        item(record=replace(record, views=(hidden,)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_points": 0}, "data.cloud.num_points: expected at least 1, got 0."),
        ({"target_share": 1.0}, "data.cloud.target_share: expected between 0 and 1, got 1.0."),
        ({"crop_radius": 0.0}, "data.cloud.crop_radius: expected more than 0, got 0.0."),
        ({"number": 0}, "data.grasps.number: expected at least 1, got 0."),
        ({"failures": -1}, "data.grasps.failures: expected at least 0, got -1."),
        ({"min_robustness": 1.5}, "data.grasps.min_robustness: expected 0 to 1, got 1.5."),
    ],
)
def test_settings_out_of_range_are_named(changes, sentence):
    with pytest.raises(ValueError) as caught:
        item_settings(**changes)
    assert str(caught.value) == sentence
