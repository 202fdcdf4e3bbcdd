"""Is what the grasps of an object are worth counted right, whether it was measured or only claimed?"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from factories.records import box, leap, scene_record, writer
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.inspection import inspect
from sceneleapultra.datasets.store.object_counts import ObjectCount, count_objects, distinct, shared_shapes
from sceneleapultra.utils.records import SceneRecord


def counted(*records: SceneRecord) -> dict[str, ObjectCount]:
    counts: dict[str, ObjectCount] = {}
    for record in records:
        count_objects(counts, record, leap())
    return counts


def with_poses(record: SceneRecord, change: np.ndarray, **changes: object) -> SceneRecord:
    """Add numbers to the hand poses of object 0."""
    labeled = record.labeled[0]
    grasps = replace(labeled.grasps, hand_pose=(labeled.grasps.hand_pose + change).astype(np.float32))
    return replace(record, labeled=(replace(labeled, grasps=grasps, **changes), record.labeled[1]))


def test_grasps_and_successes_of_an_object_add_up_over_scenes() -> None:
    """Nine grasps, six of which hold, in each of two scenes."""
    record = scene_record(0)
    count = counted(record, replace(record, index=1))["train-0-0"]
    assert (count.scenes, count.grasps, count.successes, count.splits) == (2, 18, 12, {"train"})
    assert (count.repeated, count.colliding, count.checked, count.beyond) == (0, 0, 12, 0)


def test_repeated_grasps_are_counted_once_more() -> None:
    pose = scene_record(0).labeled[0].grasps.hand_pose
    again = np.concatenate([pose, pose[2:4]])
    again[-1, -4:] *= -1.0  # the same rotation
    again[-1, 0] += 0.0005
    assert distinct(again).tolist() == list(range(9))
    again[-1, 5] += 0.02
    assert distinct(again).tolist() == [*range(9), 10]
    assert distinct(pose[:0]).tolist() == []


def test_joints_beyond_their_limits_are_counted() -> None:
    change = np.zeros((9, 23))
    change[[1, 4], 3] = 3.0  # the first joint of the LEAP hand ends at 2.23
    assert counted(with_poses(scene_record(0), change))["train-0-0"].beyond == 2


def test_coverage_is_the_share_of_directions() -> None:
    """Hands on one side of the object cover one of 32 directions; spread over the sphere, nearly all."""
    record = scene_record(0, num_grasps=300)
    center = record.scene.T_world_object[0, :3, 3]
    pose = record.labeled[0].grasps.hand_pose.copy()
    pose[:, :3] = center + np.array([0.0, 0.0, 0.2])
    alone = counted(with_poses(record, pose - record.labeled[0].grasps.hand_pose))["train-0-0"]
    assert alone.coverage == 1 / 32
    around = np.random.default_rng(0).normal(size=(300, 3))
    pose[:, :3] = center + 0.2 * around / np.linalg.norm(around, axis=1, keepdims=True)
    spread = counted(with_poses(record, pose - record.labeled[0].grasps.hand_pose))["train-0-0"]
    assert spread.coverage > 0.95


def test_measured_collisions_are_read() -> None:
    """Of the successes (rows 1, 2, 4, 5, 7, 8) one is deep in its object, one in the table; row 0 failed anyway."""
    record = scene_record(0)
    labeled = record.labeled[0]
    penetration, clearance = labeled.penetration_m.copy(), labeled.clearance_m.copy()
    penetration[[0, 1]], clearance[4] = 0.02, -0.01
    deep = replace(
        record,
        labeled=(replace(labeled, penetration_m=penetration, clearance_m=clearance), record.labeled[1]),
    )
    count = counted(deep)["train-0-0"]
    assert (count.colliding, count.checked) == (2, 6)


def test_claimed_grasps_are_checked_by_geometry() -> None:
    """A hand whose palm is put into the object collides; one half a metre above does not."""
    record = scene_record(0)
    unknown = np.full(9, np.nan, np.float32)
    pose = record.labeled[0].grasps.hand_pose.copy()
    pose[:, :3] = record.scene.T_world_object[0, :3, 3] + [0.0, 0.0, 0.5]
    verdicts = {"penetration_m": unknown, "clearance_m": unknown}
    far = counted(with_poses(record, pose - record.labeled[0].grasps.hand_pose, **verdicts))["train-0-0"]
    assert (far.colliding, far.checked) == (0, 6)
    pose[:, :3] -= [0.0, 0.0, 0.5]
    inside = counted(with_poses(record, pose - record.labeled[0].grasps.hand_pose, **verdicts))["train-0-0"]
    assert inside.colliding == inside.checked == 6


def test_one_surface_under_two_names_is_found_and_is_a_leak_across_splits(tmp_path: Path) -> None:
    half = np.array([0.02, 0.03, 0.04])
    w = writer(tmp_path / "s.h5")
    for index, split in enumerate(("train", "test")):
        record = scene_record(index, split)
        objects = (box(f"box-{split}", "family0", half), record.scene.objects[1])
        w.write(replace(record, scene=replace(record.scene, objects=objects)))
    found = inspect(GraspStore(w.finish()), leap(), lambda _: None)
    assert "objects box-test, box-train have the same surface and are in different splits" in found.problems
    assert list(shared_shapes(list(found.objects.values()))) == [(["box-test", "box-train"], True)]


def test_an_object_without_grasps_is_counted() -> None:
    record = scene_record(0)
    labeled = record.labeled[0]
    g = labeled.grasps
    none = replace(
        labeled,
        grasps=g[:0],
        **{n: getattr(labeled, n)[:0] for n in labeled.__dataclass_fields__ if n != "grasps"},
    )
    count = counted(replace(record, labeled=(none, record.labeled[1])))["train-0-0"]
    assert (count.grasps, count.checked, count.coverage) == (0, 0, 0.0)
