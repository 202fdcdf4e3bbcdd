"""Are several files read as one data set, from where they lie or from copies, and refused where they do not fit?"""

import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from factories.data_module import assert_equal, epochs, module
from factories.records import CLAIMED, SPLITS, leap, scene_record, writer
from factories.stores import edited
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.store.manifest import resolve, write_manifest
from sceneleapultra.datasets.store.opening import read_attributes
from sceneleapultra.datasets.store.schema import COLUMNS
from sceneleapultra.datasets.store.staging import network_type


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The twelve scenes of the finished store, in three files of five, one and six."""
    folder = tmp_path_factory.mktemp("shards")
    made = []
    for k, rows in enumerate((range(5), range(5, 6), range(6, 12))):
        w = writer(folder / f"part{k}.h5")
        for i in rows:
            w.write(scene_record(i, SPLITS[i]))
        made.append(w.finish())
    return made


def assert_same_content(one: GraspStore, other: GraspStore) -> None:
    assert (one.num_scenes, one.num_objects, one.num_items) == (
        other.num_scenes,
        other.num_objects,
        other.num_items,
    )
    for split in set(SPLITS):
        assert one.items(split, min_points=1, require_success=True) == other.items(
            split, min_points=1, require_success=True
        )
    for row in range(one.num_scenes):
        first, second = one.record(row), other.record(row)
        assert (first.index, first.split, first.seed) == (second.index, second.split, second.seed)
        for a, b in zip(first.scene.objects, second.scene.objects, strict=True):
            assert a.name == b.name and a.mass == b.mass
            assert_array_equal(a.vertices, b.vertices)
            assert_array_equal(a.faces, b.faces)
            assert_array_equal(np.concatenate(a.pieces), np.concatenate(b.pieces))
        for a, b in zip(first.views, second.views, strict=True):
            assert_array_equal(a.points, b.points)
            assert_array_equal(a.instance, b.instance)
        for a, b in zip(first.labeled, second.labeled, strict=True):
            assert_array_equal(a.grasps.hand_pose, b.grasps.hand_pose)
            assert_array_equal(a.success, b.success)


def test_shards_are_one_data_set(shards: list[Path], finished_store: Path) -> None:
    whole, parts = GraspStore(finished_store, leap()), GraspStore([str(p) for p in shards], leap())
    assert_same_content(parts, whole)
    parts.verify()
    assert parts.leaks() == []
    assert parts.content_hash != whole.content_hash
    assert [parts.file_of(row).name for row in (0, 4, 5, 6, 11)] == [f"part{k}.h5" for k in (0, 0, 1, 2, 2)]


def test_batches_of_shards_are_those_of_one_file(shards: list[Path], finished_store: Path) -> None:
    pattern = str(shards[0].parent / "part*.h5")
    alone = epochs(module(finished_store).train_dataloader(), 2)
    assert_equal(alone, epochs(module(pattern, workers=2).train_dataloader(), 2))


def test_a_pattern_a_list_and_a_manifest_name_the_same(shards: list[Path], tmp_path: Path) -> None:
    folder = shards[0].parent
    manifest = tmp_path / "all.json"
    write_manifest(manifest, shards)
    store = GraspStore(manifest)
    assert (
        resolve(str(folder / "part*.h5")) == shards == resolve([str(folder / "part[01].h5"), str(shards[2])])
    )
    assert [p.resolve() for p in resolve(manifest)] == [p.resolve() for p in shards]
    assert store.content_hash == GraspStore([str(p) for p in shards]).content_hash
    assert json.loads(manifest.read_text())["content_hash"] == store.content_hash


def test_a_shard_that_is_not_what_the_manifest_lists(shards: list[Path], tmp_path: Path) -> None:
    copies = [Path(shutil.copy(shard, tmp_path)) for shard in shards]
    manifest = tmp_path / "all.json"
    write_manifest(manifest, copies)
    listed = manifest.read_text()
    manifest.write_text(listed.replace(GraspStore(copies[1]).content_hash, "0" * 64))
    with pytest.raises(ValueError, match=r"part1\.h5 has content hash .*, .*all\.json lists 000000000000"):
        resolve(manifest)
    manifest.write_text(listed)
    copies[1].write_bytes(copies[1].read_bytes()[:-8])
    with pytest.raises(
        ValueError, match=r"part1\.h5 has \d+ bytes, .*all\.json lists \d+\. Was it truncated"
    ):
        resolve(manifest)
    copies[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"all\.json lists .*part1\.h5, which is not there"):
        resolve(manifest)
    manifest.write_text('{"format": "other", "shards": []}')
    with pytest.raises(ValueError, match=r"all\.json is no manifest of this program"):
        resolve(manifest)
    manifest.write_text("not json")
    with pytest.raises(ValueError, match=r"all\.json is no manifest of stores"):
        resolve(manifest)
    for changed in (
        listed.replace('"bytes": ', '"bytes": "x'),
        listed[:-20],
        "[]",
        "{}",
        '{"format": 1, "shards": [3]}',
    ):
        manifest.write_text(changed)
        with pytest.raises(
            ValueError, match=r"all\.json is no manifest of stores .*store\.py manifest .*all\.json <"
        ):
            resolve(manifest)
    manifest.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"all\.json is no manifest of stores"):
        resolve(manifest)


def test_a_manifest_that_lists_something_else(shards: list[Path], tmp_path: Path) -> None:
    copy = Path(shutil.copy(shards[0], tmp_path))
    write_manifest(tmp_path / "all.json", [copy])
    copy.write_bytes(b"x" * copy.stat().st_size)
    with pytest.raises(ValueError, match=r"part0\.h5 is no HDF5 file: it is .* bytes\. Pass the store"):
        resolve(tmp_path / "all.json")


def test_what_is_there_is_taken_before_a_pattern(finished_store: Path, tmp_path: Path) -> None:
    (tmp_path / "run[1]").mkdir()
    path = Path(shutil.copy(finished_store, tmp_path / "run[1]/quick.h5"))
    assert resolve(str(path)) == [path]
    assert resolve([str(path)]) == [path]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "data.store: expected at least one store, got an empty list."),
        (["part0.h5", "part0.h5"], "is listed more than once. Name every shard once."),
        (["none*.h5"], "data.store: no file matches"),
        (["all.json"], "data.store: no manifest at"),
    ],
)
def test_names_that_make_no_data_set(shards: list[Path], names: list[str], sentence: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        resolve([str(shards[0].parent / name) for name in names])
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("attribute", "value", "what"),
    [
        ("hand_name", "shadow", "one hand"),
        ("hand_hash", "0", "one description of the hand"),
        ("origin", CLAIMED.to_json(), "one origin"),
    ],
)
def test_shards_that_do_not_belong_together(
    shards: list[Path], tmp_path: Path, attribute: str, value: str, what: str
) -> None:
    other = Path(shutil.copy(shards[1], tmp_path / "other.h5"))
    with edited(other) as file:
        file.attrs[attribute] = value
    with pytest.raises(ValueError) as caught:
        GraspStore([str(shards[0]), str(other)])
    assert f"the shards of a data set share {what}; {shards[0]} has " in str(caught.value)
    assert str(other) in str(caught.value)


def test_different_objects_of_one_name(shards: list[Path], tmp_path: Path) -> None:
    record = scene_record(0)
    first = record.scene.objects[0]
    heavier = replace(first, mass=first.mass * 2)
    w = writer(tmp_path / "other.h5")
    w.write(replace(record, scene=replace(record.scene, objects=(heavier, record.scene.objects[1]))))
    with pytest.raises(ValueError, match=f"different objects of the name '{first.name}' in different shards"):
        GraspStore([str(shards[0]), str(w.finish())])


def chunked(path: Path, source: Path) -> Path:
    """Write a store as earlier versions did: in compressed chunks, without an origin."""
    with h5py.File(source) as old, h5py.File(path, "w") as new:
        for name, column in COLUMNS.items():
            kind = h5py.string_dtype() if column.dtype == "text" else old[name].dtype
            rows = old[name][...]
            rows = rows.astype(object) if rows.dtype.kind == "S" else rows
            shape = (None, *rows.shape[1:])
            new.create_dataset(name, data=rows, dtype=kind, maxshape=shape, chunks=True, compression="lzf")
        new.attrs.update({k: v for k, v in read_attributes(old).items() if k != "schema_minor"})
    return path


def test_chunked_files_are_read_too_and_counted_apart(finished_store: Path, tmp_path: Path) -> None:
    whole, old = GraspStore(finished_store), GraspStore(chunked(tmp_path / "old.h5", finished_store))
    assert_same_content(old, whole)
    assert old.counters.mapped == 0 and whole.counters.decoded == 0
    assert old.counters.decoded == whole.counters.mapped > 0


def test_reading_counts_what_it_read(finished_store: Path) -> None:
    """A view of 550 points: 12 bytes of position, 3 of color, 1 of instance each."""
    store = GraspStore(finished_store)
    before = store.counters.mapped
    store.view(0)
    assert store.counters.mapped - before == 550 * 16


def test_what_was_read_may_be_changed(finished_store: Path) -> None:
    view = GraspStore(finished_store).view(0)
    view.points[0] = 7.0
    assert GraspStore(finished_store).view(0).points[0, 0] != 7.0


# Copies on a local disk


def test_staged_copies_are_the_data_set(finished_store: Path, tmp_path: Path) -> None:
    old, folder = chunked(tmp_path / "old.h5", finished_store), tmp_path / "local"
    staged = GraspStore(old, leap(), staging=folder)
    assert_same_content(staged, GraspStore(finished_store))
    copy = folder / f"{staged.content_hash[:16]}.h5"
    assert staged.counters.decoded == 0, "a copy lies in one piece"
    written = copy.stat().st_mtime_ns
    GraspStore(old, leap(), staging=folder)
    assert copy.stat().st_mtime_ns == written, "copied once"
    assert {p.suffix for p in folder.iterdir()} == {".h5", ".lock", f".checked-{os.geteuid()}"}


def _stage(path: Path, folder: Path) -> None:
    GraspStore(path, staging=folder)


def test_processes_that_stage_at_once_make_one_copy(finished_store: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_stage, args=(finished_store, tmp_path / "local")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    copies = list((tmp_path / "local").glob("*.h5"))
    assert len(copies) == 1
    GraspStore(copies[0]).verify()


def test_a_killed_copy_is_begun_again(finished_store: Path, tmp_path: Path) -> None:
    wanted = GraspStore(finished_store).content_hash[:16]
    (tmp_path / f"{wanted}.tmp").write_bytes(b"half a copy")
    GraspStore(finished_store, staging=tmp_path)
    GraspStore(tmp_path / f"{wanted}.h5").verify()
    assert not (tmp_path / f"{wanted}.tmp").exists()


def test_a_damaged_store_is_not_staged(store_path: Path, tmp_path: Path) -> None:
    with edited(store_path) as file:
        file["grasps/hand_pose"][3, 0] += 1e-6
    with pytest.raises(
        ValueError,
        match=r"data\.loading\.staging: the copy of .* is not what that store says .*scripts/store\.py verify",
    ):
        GraspStore(store_path, staging=tmp_path / "local")
    assert list((tmp_path / "local").glob("*.h5")) == []


def test_a_full_disk_is_named(finished_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sceneleapultra.datasets.store.staging._ROOM", 1e12)
    with pytest.raises(ValueError, match=r"data\.loading\.staging: .* GB free, .* needs .* GB\. Make room"):
        GraspStore(finished_store, staging=tmp_path / "local")


def test_network_file_systems_are_told_from_local_ones() -> None:
    mounts = "\n".join(
        [
            "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
            "30 22 0:50 / /data rw shared:9 - nfs4 server:/export rw",
            "31 30 8:2 / /data/fast\\040disk rw shared:9 - xfs /dev/nvme0 rw",
            "32 22 0:51 / /cloud rw - fuse.sshfs host: rw",
        ]
    )
    kinds = [
        network_type(Path(p), mounts) for p in ("/a.h5", "/data/a.h5", "/data/fast disk/a.h5", "/cloud/a.h5")
    ]
    assert kinds == [None, "nfs4", None, "fuse.sshfs"]


# The command


def test_the_command_verifies_lists_and_migrates(
    shards: list[Path], finished_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run_program
) -> None:
    manifest = tmp_path / "all.json"
    assert run_program("store", "manifest", manifest, *shards) == 0
    assert run_program("store", "verify", manifest) == 0
    assert GraspStore(manifest).content_hash in capsys.readouterr().out.replace("\n", "")
    old = chunked(tmp_path / "old.h5", finished_store)
    with h5py.File(old, "r+") as file:
        del file.attrs["origin"]
        file.attrs["schema_version"] = 1
        from sceneleapultra.datasets.store.schema import content_hash

        file.attrs["content_hash"] = content_hash(file, read_attributes(file))
    assert run_program("store", "migrate", old, tmp_path / "new.h5") == 0
    new = GraspStore(tmp_path / "new.h5")
    new.verify()
    assert_same_content(new, GraspStore(finished_store))
    assert new.content_hash == GraspStore(finished_store).content_hash
    assert run_program("store", "migrate", old, tmp_path / "new.h5") == 1
    assert "exists already" in capsys.readouterr().err.replace("\n", " ")
