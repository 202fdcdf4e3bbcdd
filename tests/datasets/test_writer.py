"""Does a store depend on its scenes alone, whatever the order, the runs and the kills; and is nonsense refused?"""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from factories.disks import files_of_at_most
from factories.records import SPLITS, scene_record, writer
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.store.schema import COLUMNS
from sceneleapultra.datasets.store.shard import Shard
from sceneleapultra.utils.records import Grasps


def _write(path: Path, order: list[int], pause_s: float) -> None:
    w = writer(path)
    for i in order:
        if i not in w.done_indices():
            w.write(scene_record(i, SPLITS[i]))
            time.sleep(pause_s)


def test_content_hash_does_not_depend_on_order_or_interruption(tmp_path, records, store_path):
    w = writer(tmp_path / "again.h5")
    for record in reversed(records[:5]):
        w.write(record)
    w = writer(tmp_path / "again.h5")  # another run
    assert w.done_indices() == {0, 1, 2, 3, 4}
    for record in records[5:]:
        w.write(record)
    again = GraspStore(w.finish())
    assert again.content_hash == GraspStore(store_path).content_hash
    assert not w.parts.exists()
    again.verify()


def test_a_part_that_the_disk_damaged_is_made_again(tmp_path, records, store_path, caplog):
    path = tmp_path / "again.h5"
    w = writer(path)
    for record in records:
        w.write(record)
    cut, flipped = (w.parts / f"{index:08d}.npz" for index in (3, 7))
    cut.write_bytes(cut.read_bytes()[:-50])
    damaged = bytearray(flipped.read_bytes())
    damaged[len(damaged) // 2] ^= 8
    flipped.write_bytes(damaged)
    with pytest.raises(
        ValueError, match=r"00000003\.npz is a zip archive .* is made again by the same command"
    ):
        w.finish()
    w = writer(path)
    assert w.done_indices() == set(range(12)) - {3, 7}
    assert f"{flipped} is a zip archive" in caplog.text and "Bad CRC-32" in caplog.text
    for index in (3, 7):
        w.write(records[index])
    assert GraspStore(w.finish()).content_hash == GraspStore(store_path).content_hash


def test_a_killed_writer_leaves_nothing_that_loads(tmp_path, store_path):
    """Kill a real process between scenes: no store exists, and a second run completes it to the same hash."""
    path = tmp_path / "killed.h5"
    parts = tmp_path / "killed.h5.parts"
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_write, args=(path, list(range(12)), 0.05))
    process.start()
    while len(list(parts.glob("*.npz"))) < 3:
        time.sleep(0.005)
        assert process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert 3 <= len(list(parts.glob("*.npz"))) < 12
    with pytest.raises(FileNotFoundError, match="is not finished"):
        GraspStore(path)
    # What a kill in the middle of a write leaves: temporary names, which nothing reads.
    (parts / ".00000011.npz.77.tmp").write_bytes(b"half a scene")
    (parts / "store.h5.tmp").write_bytes(b"half a store")
    _write(path, list(reversed(range(12))), 0.0)
    assert GraspStore(writer(path).finish()).content_hash == GraspStore(store_path).content_hash
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("killed")] == ["killed.h5"]


def test_two_writers_at_once_make_the_same_store(tmp_path, store_path):
    path = tmp_path / "both.h5"
    context = multiprocessing.get_context("fork")
    writer(path)
    shares = [list(range(0, 12, 2)), list(range(1, 12, 2))]
    processes = [context.Process(target=_write, args=(path, share, 0.0)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert GraspStore(writer(path).finish()).content_hash == GraspStore(store_path).content_hash


def test_two_processes_that_finish_at_once_make_one_store(tmp_path, store_path):
    path = tmp_path / "both.h5"
    _write(path, list(range(12)), 0.0)
    context = multiprocessing.get_context("fork")
    writers = [writer(path) for _ in range(2)]
    processes = [context.Process(target=w.finish) for w in writers]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = GraspStore(path)
    store.verify()
    assert store.content_hash == GraspStore(store_path).content_hash
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("both")] == ["both.h5"]


def test_a_writer_whose_store_was_finished_meanwhile_is_told(tmp_path, records):
    late, early = writer(tmp_path / "s.h5"), writer(tmp_path / "s.h5")
    early.write(records[0])
    early.finish()
    with pytest.raises(
        FileExistsError, match=r"s\.h5\.parts is gone .* another one has finished .*s\.h5\. Use that"
    ):
        late.write(records[1])
    assert late.finish() == early.path


def _build(path: Path) -> None:
    _write(path, list(range(12)), 0.002)
    writer(path).finish()


@pytest.mark.slow
def test_a_build_killed_at_20_moments_resumes_to_the_same_store(tmp_path, store_path):
    """Moments spread over writing and joining; a store that is there by then is checked, removed and built again."""
    path, rng = tmp_path / "killed.h5", np.random.default_rng(0)
    expected = GraspStore(store_path).content_hash
    context = multiprocessing.get_context("fork")
    kills, whole_s = 0, 60.0
    for _ in range(20):
        process, start = context.Process(target=_build, args=(path,)), time.monotonic()
        process.start()
        process.join(rng.uniform(0.0, 0.8 * whole_s) if whole_s < 60.0 else whole_s)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        else:  # how long a build takes here is learned from those that ended, as others load the machine
            whole_s = min(whole_s, time.monotonic() - start)
        process.join()
        if path.exists():
            store = GraspStore(path)
            store.verify()
            assert store.content_hash == expected
            path.unlink()
    assert kills >= 10
    if not path.exists():
        _build(path)
    store = GraspStore(path)
    store.verify()
    assert store.content_hash == expected
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("killed")] == ["killed.h5"]


def test_a_flipped_byte_is_found(store_path):
    """In every column with rows, and in what the hash covers besides."""
    content = bytearray(store_path.read_bytes())
    with h5py.File(store_path) as file:
        offsets = {n: file[n].id.get_offset() for n in COLUMNS if len(file[n]) and file[n].dtype.kind != "O"}
    assert None not in offsets.values(), "every column lies in one piece"
    for name, offset in offsets.items():
        flipped = bytearray(content)
        flipped[offset] ^= 1
        store_path.write_bytes(flipped)
        with pytest.raises(ValueError, match=rf"{name} is not what was written"):
            Shard(store_path).verify()
        assert name


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"generator": {"scenes": 13}}, {"protocol_hash": "q"}, {"protocol": "dgb-fc"}],
    ids=lambda c: next(iter(c)),
)
def test_content_hash_knows_what_the_scenes_were_made_from(tmp_path, records, store_path, changes):
    w = writer(tmp_path / "other.h5", **changes)
    for record in records:
        w.write(record)
    assert GraspStore(w.finish()).content_hash != GraspStore(store_path).content_hash


def test_other_configuration_is_not_mixed_in(tmp_path, records):
    writer(tmp_path / "s.h5").write(records[0])
    with pytest.raises(ValueError) as caught:
        writer(tmp_path / "s.h5", generator={"scenes": 13}, seed=4)
    assert "s.h5.parts holds scenes of another configuration" in str(caught.value)
    assert "(generator.scenes was 12, is 13; seed was 0, is 4)" in str(caught.value)


def test_existing_store_is_not_overwritten(store_path):
    before = store_path.read_bytes()
    with pytest.raises(FileExistsError) as caught:
        writer(store_path, seed=4)
    assert "store.h5 exists already, of another configuration (seed was 0, is 4). Remove it" in str(
        caught.value
    )
    w = writer(store_path)
    with pytest.raises(FileExistsError, match="exists already, with 12 scenes; 13 are wanted"):
        w.check_scenes(range(13))
    assert store_path.read_bytes() == before


def test_what_was_finished_is_finished_again(store_path):
    """Also where its writer was killed before it could remove the parts."""
    before, parts = store_path.read_bytes(), store_path.with_name("store.h5.parts")
    parts.mkdir()
    (parts / "00000000.npz").write_bytes(b"half")
    w = writer(store_path)
    w.check_scenes(range(12))
    assert w.was_there and w.done_indices() == set(range(12)) and w.finish() == store_path
    assert store_path.read_bytes() == before and not parts.exists()


def test_nothing_written_is_nothing_to_finish(tmp_path):
    with pytest.raises(ValueError, match="holds no scene; nothing to finish"):
        writer(tmp_path / "s.h5").finish()


def test_an_object_that_changes_under_its_name_is_refused(tmp_path, records):
    w = writer(tmp_path / "s.h5")
    w.write(records[0])
    first = records[0].scene.objects[0]
    changed = replace(first, vertices=first.vertices * 1.1, pieces=(first.vertices * 1.1,))
    scene = replace(records[1].scene, objects=(changed, records[1].scene.objects[1]))
    w.write(replace(records[1], scene=scene))
    with pytest.raises(ValueError, match=f"Scene 1 has an object '{first.name}' that differs"):
        w.finish()
    assert not w.path.exists()


def test_an_object_in_two_scenes_is_stored_once(tmp_path, records):
    w = writer(tmp_path / "s.h5")
    w.write(records[0])
    w.write(replace(records[1], scene=records[0].scene))
    assert GraspStore(w.finish()).num_objects == 2


def _judged(record, **changes):
    return replace(record, labeled=(replace(record.labeled[0], **changes), record.labeled[1]))


def _posed(record, column, value):
    pose = record.labeled[0].grasps.hand_pose.copy()
    pose[2, column] = value
    return _judged(record, grasps=replace(record.labeled[0].grasps, hand_pose=pose))


def _seen(record, **changes):
    return replace(record, views=(replace(record.views[0], **changes), *record.views[1:]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: replace(r, split="trian"), "split 'trian' is none of train, val, test, test_family"),
        (lambda r: _posed(r, 0, np.nan), "grasps of object 0: hand_pose has values that are not finite"),
        (lambda r: _posed(r, slice(-4, None), 1.0), "grasps of object 0: quaternions that are not of unit length"),
        (lambda r: _judged(r, success=~r.labeled[0].success), "success and outcome contradict each other"),
        (
            lambda r: _judged(r, direction_success=~r.labeled[0].direction_success),
            "grasps of object 0: successes that failed in a direction",
        ),
        (lambda r: replace(r, labeled=r.labeled[:1]), "1 sets of grasps for 2 objects"),
        (lambda r: _seen(r, instance=r.views[0].instance[::-1].copy()), "view 0: points not in blocks by instance"),
        (lambda r: _seen(r, instance=r.views[0].instance * 2), "view 0: instance 4 with 2 objects"),
        (lambda r: _seen(r, T_world_cam=2 * np.eye(4)), "view 0: T_world_cam is no rigid motion"),
        (
            lambda r: replace(r, scene=replace(r.scene, T_world_object=-r.scene.T_world_object)),
            "T_world_object holds a matrix that is no rigid motion",
        ),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_right_is_not_stored(tmp_path, records, change, sentence):
    w = writer(tmp_path / "s.h5")
    with pytest.raises(ValueError) as caught:
        w.write(change(records[3]))
    assert str(caught.value).startswith("Scene 3 is not stored: ")
    assert sentence in str(caught.value)
    assert w.done_indices() == set()


def test_a_hand_with_other_joints_is_not_stored(tmp_path, records):
    grasps = records[0].labeled[0].grasps
    short = Grasps(grasps.hand_pose[:, 1:], grasps.pregrasp_qpos[:, 1:], grasps.squeeze_qpos[:, 1:])
    with pytest.raises(ValueError, match=r"hand_pose has shape \(9, 22\), expected \(9, 23\)"):
        writer(tmp_path / "s.h5").write(_judged(records[0], grasps=short))


@pytest.mark.parametrize("emptied", ["grasps", "views"])
def test_a_scene_without_grasps_or_views_is_stored(tmp_path, records, emptied):
    record = records[0]
    if emptied == "views":
        record = replace(record, views=())
    else:
        record = replace(record, labeled=(record.labeled[0][:0], *record.labeled[1:]))
    w = writer(tmp_path / "s.h5")
    w.write(record)
    store = GraspStore(w.finish(), None)
    assert store.num_success(0, 0) == (0 if emptied == "grasps" else 6)
    assert len(store.record(0).views) == len(record.views)


def test_what_the_kernel_refuses_leaves_what_was_written(tmp_path, records, store_path):
    w = writer(tmp_path / "full.h5")
    for record in records:
        w.write(record)
    with (
        files_of_at_most(20_000),
        pytest.raises(OSError, match=r"could not be written \(File too large\)\. Make room"),
    ):
        w.finish()
    assert not (tmp_path / "full.h5").exists()
    assert sorted(w.done_indices()) == [record.index for record in records]
    assert (
        GraspStore(writer(tmp_path / "full.h5").finish()).content_hash == GraspStore(store_path).content_hash
    )
