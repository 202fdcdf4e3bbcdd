"""Does a store give back what was written, and refuse what is not whole or not its hand's?"""

import errno
import fcntl
import hashlib
import multiprocessing
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from factories.records import CLAIMED, claimed, leap, scene_record, writer
from factories.stores import edited, without_checksums
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.store.layout import repack
from sceneleapultra.datasets.store.opening import read_attributes
from sceneleapultra.datasets.store.schema import (
    COLUMNS,
    CONTENT_ATTRIBUTES,
    DERIVED_COLUMNS,
    GENERATED,
    GRASP_COLUMNS,
    VERDICT_COLUMNS,
    content_hash,
)
from sceneleapultra.utils.records import Grasps, LabeledGrasps


def test_everything_comes_back(store_path, records):
    store = GraspStore(store_path, hand=leap())
    store.verify()
    assert store.num_scenes == len(records) and store.num_objects == 2 * len(records)
    for row, record in enumerate(records):
        scene = store.scene(row)
        assert_array_equal(scene.T_world_object, record.scene.T_world_object)
        for found, made in zip(scene.objects, record.scene.objects, strict=True):
            assert (found.name, found.family, found.mass) == (made.name, made.family, made.mass)
            assert_array_equal(found.vertices, made.vertices.astype(np.float32))
            assert_array_equal(found.faces, made.faces)
            assert_array_equal(found.pieces[0], made.pieces[0].astype(np.float32))
        for view, made in zip(store.scene_views(row), record.views, strict=True):
            found = store.view(view)
            for name in ("T_world_cam", "K", "points", "rgb", "instance"):
                assert_array_equal(getattr(found, name), getattr(made, name))
        for target, made in enumerate(record.labeled):
            found = store.labeled(row, target)
            for name in GRASP_COLUMNS:
                assert_array_equal(getattr(found.grasps, name), getattr(made.grasps, name))
            for name in VERDICT_COLUMNS:
                assert_array_equal(getattr(found, name), getattr(made, name))
        again = store.record(row)
        assert (again.index, again.seed, again.split) == (record.index, record.seed, record.split)


def test_content_hash_sees_a_changed_number(store_path):
    with edited(store_path) as file:
        file["grasps/hand_pose"][3, 0] += 1e-6
    with pytest.raises(ValueError, match="content hash"):
        GraspStore(store_path).verify()


def test_missing_store(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no store at .*generate_dataset"):
        GraspStore(tmp_path / "none.h5")


def test_truncated_store(store_path):
    data = store_path.read_bytes()
    store_path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="not a complete store"):
        GraspStore(store_path)


def test_unfinished_store_says_how_far_it_is(tmp_path, records):
    writer(tmp_path / "s.h5").write(records[0])
    with pytest.raises(
        FileNotFoundError, match=r"is not finished: .* holds 1 scenes\. Continue with the command"
    ):
        GraspStore(tmp_path / "s.h5")


def test_file_that_is_no_hdf5(tmp_path):
    (tmp_path / "s.h5").write_text("hello")
    with pytest.raises(ValueError, match=r"s.h5 is no HDF5 file: it is a text of 5 bytes\. Pass the store"):
        GraspStore(tmp_path / "s.h5")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a git-lfs pointer of 63 bytes",
        ),
        (bytes(9000), "9,000 bytes that begin with zeros"),
    ],
)
def test_what_is_there_instead_of_a_store_is_said(tmp_path, content, what):
    (tmp_path / "s.h5").write_bytes(content)
    with pytest.raises(ValueError, match=f"s.h5 is no HDF5 file: it is {what}"):
        GraspStore(tmp_path / "s.h5")


def test_a_store_that_is_open_for_writing_elsewhere(store_path):
    """It is sound: nothing is said of copying it or making it again."""
    with store_path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError) as caught:
            GraspStore(store_path)
    assert str(caught.value) == (
        f"{store_path} is open for writing in another process. Wait until that is done, or end it."
    )


def _die_while_writing(path):
    file = h5py.File(path, "r+")
    file["grasps/hand_pose"][0, 0] = 0.0
    file.flush()
    os._exit(0)


def test_a_store_whose_writer_was_killed(store_path):
    process = multiprocessing.get_context("fork").Process(target=_die_while_writing, args=(store_path,))
    process.start()
    process.join()
    with pytest.raises(
        ValueError, match=r"or was when that process was killed\. Wait .* `h5clear --status .*store\.h5`"
    ):
        GraspStore(store_path)


def test_a_file_system_without_locks_needs_none(store_path, monkeypatch):
    opened, real = [], h5py.File

    def without_locks(path, *args, **options):
        opened.append(options)
        if options.get("locking") is not False:
            raise OSError(
                errno.ENOLCK, "unable to lock file, errno = 37, error message = 'No locks available'"
            )
        return real(path, *args, **options)

    monkeypatch.setattr(h5py, "File", without_locks)
    assert GraspStore(store_path).num_scenes == 12
    assert opened == [{}, {"locking": False}]


def test_a_store_of_before_checksums_is_read_and_says_so_once(store_path, caplog):
    with without_checksums(store_path):
        pass
    points = [GraspStore(store_path).view(0).points for _ in range(2)]
    assert_array_equal(*points)
    assert caplog.text.count("store.h5 has no checksums: damage to it would go unnoticed") == 1


def test_checksums_are_no_content(store_path):
    """The hash of a store is what it was without them."""
    store = GraspStore(store_path)
    with without_checksums(store_path):
        pass
    with h5py.File(store_path) as file:
        assert content_hash(file, read_attributes(file)) == store.content_hash


def test_hdf5_file_that_is_no_store(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["something"] = [1]
    with pytest.raises(ValueError, match="is no store of grasps: it has no schema version"):
        GraspStore(tmp_path / "s.h5")


@pytest.mark.parametrize("path", sorted(set(COLUMNS) - set(DERIVED_COLUMNS)))
def test_missing_column_is_named(store_path, path):
    with h5py.File(store_path, "r+") as file:
        del file[path]
    with pytest.raises(ValueError, match=f"not a complete store: {path} is missing"):
        GraspStore(store_path)


@pytest.mark.parametrize("checksums", [True, False])
def test_a_store_without_what_can_be_derived_is_read_as_unknown_and_keeps_its_hash(
    store_path, tmp_path, checksums
):
    """As stores were written before: types, parts and disturbances are no part of the content."""
    written = GraspStore(store_path).content_hash
    with edited(store_path) if checksums else without_checksums(store_path) as file:
        for name in DERIVED_COLUMNS:
            del file[name]
        file.attrs["schema_minor"] = 1
    store = GraspStore(store_path, hand=leap())
    store.verify()
    assert store.content_hash == written
    labeled = store.labeled(0, 1)
    assert labeled.grasp_type.dtype == np.uint8 and len(labeled.grasp_type) == len(labeled.success) > 0
    assert not labeled.grasp_type.any() and not labeled.held_part.any() and not labeled.touched_parts.any()
    assert store.object(0).piece_part is None and not store.has_parts
    assert np.isnan(labeled.disturbance).all() and len(labeled.disturbance) == len(labeled.success)
    with h5py.File(store_path) as old:
        repack(old, tmp_path / "again.h5", store.attributes)
    assert GraspStore(tmp_path / "again.h5").content_hash == written


def test_column_of_another_type_is_named(store_path):
    with h5py.File(store_path, "r+") as file:
        values = file["views/points"][...]
        del file["views/points"]
        file["views/points"] = values.astype(np.float64)
    with pytest.raises(ValueError, match="views/points has rows float64"):
        GraspStore(store_path)


def test_other_schema_version(store_path):
    with edited(store_path) as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(ValueError, match="schema version 99, this program reads 1 to 2"):
        GraspStore(store_path)


def test_a_store_of_version_1_is_read_and_keeps_its_hash(store_path):
    """Version 1 had no origin; its digest began with its own number and knew no such attribute."""
    with without_checksums(store_path) as file:
        file.attrs["schema_version"] = 1
        del file.attrs["origin"]
        attributes = {k: v for k, v in read_attributes(file).items() if k in CONTENT_ATTRIBUTES}
        digest = hashlib.sha256(b"schema 1")
        for name, value in attributes.items():
            digest.update(f"{name}={value}\n".encode())
        for path in sorted(set(COLUMNS) - set(DERIVED_COLUMNS)):
            digest.update(f"{path} {COLUMNS[path].dtype} {file[path].shape}\n".encode())
            rows = file[path][...]
            digest.update(b"".join(x + b"\0" for x in rows) if rows.dtype.kind in "OS" else rows.tobytes())
        file.attrs["content_hash"] = digest.hexdigest()
    store = GraspStore(store_path, hand=leap())
    store.verify()
    assert store.content_hash == digest.hexdigest()
    assert store.origin == GENERATED


def test_a_claimed_store_says_so(tmp_path, records):
    w = writer(tmp_path / "s.h5", origin=CLAIMED)
    w.write(claimed(records[0]))
    store = GraspStore(w.finish())
    labeled = store.labeled(0, 0)
    assert store.origin == CLAIMED
    assert np.isnan(labeled.grasps.squeeze_qpos).all() and np.isfinite(labeled.grasps.pregrasp_qpos).all()
    assert labeled.success.sum() == 6 and not labeled.direction_success.any()
    assert len(store.items("train", min_points=1, require_success=True)) == 4


@pytest.mark.parametrize(
    ("origin", "make", "problem"),
    [(GENERATED, claimed, "squeeze_qpos is NaN"), (CLAIMED, lambda r: r, "squeeze_qpos is known")],
)
def test_a_store_cannot_say_what_is_not_so(tmp_path, records, origin, make, problem):
    with pytest.raises(ValueError, match=f"{problem}, its origin says otherwise"):
        writer(tmp_path / "s.h5", origin=origin).write(make(records[0]))


def without_grasps(record, target):
    labeled = list(record.labeled)
    fields = {
        n: getattr(labeled[target], n)[:0] for n in labeled[target].__dataclass_fields__ if n != "grasps"
    }
    grasps = Grasps(**{n: getattr(labeled[target].grasps, n)[:0] for n in GRASP_COLUMNS})
    labeled[target] = LabeledGrasps(grasps=grasps, **fields)
    return replace(record, labeled=tuple(labeled))


def test_a_training_object_may_be_a_neighbor_in_a_test_scene_but_not_a_target(tmp_path, records):
    """Object 0 of the first scene is in both splits, without grasps in the second; object 1 is new there."""
    first, second = claimed(records[0]), claimed(records[6], split="test")
    objects = (first.scene.objects[0], second.scene.objects[1])
    shared = replace(second, scene=replace(second.scene, objects=objects))
    for kept, leaks in ((without_grasps(shared, 0), []), (shared, [objects[0].name])):
        w = writer(tmp_path / f"{len(leaks)}.h5", origin=CLAIMED)
        w.write(first)
        w.write(kept)
        store = GraspStore(w.finish())
        assert store.leaks() == leaks
        targets = {item.target for item in store.items("test", min_points=1, require_success=False)}
        assert targets == ({1} if not leaks else {0, 1})
    w = writer(tmp_path / "scene.h5", origin=replace(CLAIMED, split_by="scene"))
    w.write(first)
    w.write(shared)
    assert GraspStore(w.finish()).leaks() == []


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("hand_name", "shadow", "holds grasps of hand 'shadow'"),
        ("hand_hash", "0", "another description of hand"),
    ],
)
def test_other_hand(store_path, attribute, value, message):
    with edited(store_path) as file:
        file.attrs[attribute] = value
    with pytest.raises(ValueError, match=message):
        GraspStore(store_path, hand=leap())


def test_splits_share_no_object(store_path):
    assert GraspStore(store_path).leaks() == []


def test_a_leak_is_named(tmp_path, records):
    w = writer(tmp_path / "leak.h5")
    w.write(records[0])
    w.write(replace(records[0], index=1, split="test"))
    assert GraspStore(w.finish()).leaks() == [o.name for o in records[0].scene.objects]


def test_items_are_targets_in_view_with_a_success(tmp_path):
    """Two objects, two views; object 0 has no success, and object 1 is hidden from view 0 but for 3 points."""
    record = scene_record(0)
    failed = record.labeled[0]
    failed = replace(
        failed, success=failed.success & False, outcome=np.full(len(failed.success), 4, np.uint8)
    )
    view = record.views[0]
    kept = (view.instance < 2) | (np.arange(len(view.points)) >= len(view.points) - 3)
    hidden = replace(view, points=view.points[kept], rgb=view.rgb[kept], instance=view.instance[kept])
    w = writer(tmp_path / "s.h5")
    w.write(replace(record, labeled=(failed, record.labeled[1]), views=(hidden, record.views[1])))
    store = GraspStore(w.finish())

    def found(min_points, require_success):
        items = store.items("train", min_points=min_points, require_success=require_success)
        return [(i.index, i.target, i.view) for i in items]

    assert found(1, False) == [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1)]
    assert found(3, True) == [(1, 1, 0), (3, 1, 1)]
    assert found(4, True) == [(3, 1, 1)]
    assert store.items("val", min_points=1, require_success=False) == []


def test_successes_are_counted(store_path, records):
    assert GraspStore(store_path).num_success(0, 0) == records[0].labeled[0].success.sum() == 6


def _first_pose(store: GraspStore) -> float:
    return float(store.labeled(0, 0).grasps.hand_pose[0, 0])


def test_handles_are_per_process(store_path):
    store = GraspStore(store_path)
    here = _first_pose(store)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_first_pose, [store] * 4) == [here] * 4


def test_unknown_split_names_the_nearest(store_path):
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        GraspStore(store_path).items("trian", min_points=1, require_success=False)
