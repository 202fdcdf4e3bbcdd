"""The store gives back what was written, whatever the order and interruptions, and refuses what is not whole."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import writer
from numpy.testing import assert_array_equal

from datasets import GraspStore
from hands import load_hand

HERE = Path(__file__).parent


def test_everything_comes_back(store_path, records):
    store = GraspStore(store_path, hand=load_hand("leap_right"))
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
        for target, made in enumerate(record.judged):
            found = store.judged(row, target)
            assert_array_equal(found.grasps.hand_pose, made.grasps.hand_pose)
            for name in ("success", "direction_success", "outcome", "clearance_m", "robustness"):
                assert_array_equal(getattr(found, name), getattr(made, name))


def test_content_hash_does_not_depend_on_order_or_interruption(tmp_path, records, store_path):
    w = writer(tmp_path / "again.h5")
    for record in reversed(records[:5]):
        w.write(record)
    w = writer(tmp_path / "again.h5")  # a new process, as after a kill
    assert w.done_indices() == {0, 1, 2, 3, 4}
    for record in records[5:]:
        w.write(record)
    assert GraspStore(w.finish()).content_hash == GraspStore(store_path).content_hash
    assert not w.parts.exists()


def test_content_hash_sees_a_changed_number(store_path):
    with h5py.File(store_path, "r+") as file:
        file["grasps/hand_pose"][3, 0] += 1e-6
    with pytest.raises(ValueError, match="content hash"):
        GraspStore(store_path).verify()


def test_a_killed_writer_leaves_nothing_that_loads(tmp_path, store_path):
    """Kill a real process while it writes: no store exists, and a second run completes it to the same hash."""
    path = tmp_path / "killed.h5"
    code = (
        "import sys, time; sys.path[:0] = [%r, %r]\n"
        "from conftest import SPLITS, writer\nfrom records_under_test import scene_record\nfrom pathlib import Path\n"
        "w = writer(Path(%r))\n"
        "for i, s in enumerate(SPLITS):\n"
        "    if i not in w.done_indices(): w.write(scene_record(i, s)); time.sleep(%s)\n"
        "w.finish()\n"
    )
    args = (str(HERE), str(HERE.parent.parent), str(path))
    process = subprocess.Popen([sys.executable, "-c", code % (*args, 0.2)])
    parts = path.with_name("killed.h5.parts")
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not path.exists() and 3 <= len(list(parts.glob("*.npz"))) < 12
    subprocess.run([sys.executable, "-c", code % (*args, 0)], check=True)
    assert GraspStore(path).content_hash == GraspStore(store_path).content_hash


def test_other_configuration_is_not_mixed_in(tmp_path, records):
    writer(tmp_path / "s.h5").write(records[0])
    with pytest.raises(ValueError, match="scenes of another configuration"):
        writer(tmp_path / "s.h5", generator={"scenes": 13})


def test_existing_store_is_not_overwritten(store_path):
    with pytest.raises(FileExistsError, match="exists already"):
        writer(store_path)


def test_missing_store(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no store at .*generate_dataset"):
        GraspStore(tmp_path / "none.h5")


def test_truncated_store(store_path):
    data = store_path.read_bytes()
    store_path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="not a complete store"):
        GraspStore(store_path)


def test_other_schema_version(store_path):
    with h5py.File(store_path, "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(ValueError, match="schema version 99, this program reads 1"):
        GraspStore(store_path)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("hand_name", "shadow", "holds grasps of hand 'shadow'"),
        ("hand_hash", "0", "another description of hand"),
    ],
)
def test_other_hand(store_path, attribute, value, message):
    with h5py.File(store_path, "r+") as file:
        file.attrs[attribute] = value
    with pytest.raises(ValueError, match=message):
        GraspStore(store_path, hand=load_hand("leap_right"))


def test_splits_share_no_object(store_path):
    assert GraspStore(store_path).leaks() == []


def test_a_leak_is_named(tmp_path, records):
    w = writer(tmp_path / "leak.h5")
    w.write(records[0])
    from dataclasses import replace

    w.write(replace(records[0], index=1, split="test"))
    assert GraspStore(w.finish()).leaks() == [o.name for o in records[0].scene.objects]


def _first_pose(store: GraspStore) -> float:
    return float(store.judged(0, 0).grasps.hand_pose[0, 0])


def test_handles_are_per_process(store_path):
    store = GraspStore(store_path)
    here = _first_pose(store)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_first_pose, [store] * 4) == [here] * 4


def test_unknown_split_names_the_nearest(store_path):
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        GraspStore(store_path).items("trian", min_points=1, require_success=False)
