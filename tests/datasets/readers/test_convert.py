"""Does a conversion end the same whoever does it and however often it is stopped, and are its splits apart?"""

import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from factories import foreign
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.foreign.exporters import EXPORTERS
from sceneleapultra.datasets.foreign.readers import Conversion, convert_once
from sceneleapultra.datasets.foreign.readers.base import SourceScene
from sceneleapultra.datasets.foreign.readers.splits import Splits
from sceneleapultra.hands import load_hand
from sceneleapultra.utils.core.parallel import LocalExecutor

HAND = load_hand("leap_right")


@pytest.fixture(scope="module")
def source(generated: GraspStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodex") / "data"
    EXPORTERS["bodex"](generated, HAND, folder, lambda _: None)
    return folder


class Stop(Exception):
    pass


@pytest.mark.slow
def test_stopped_and_parallel_conversions_end_the_same(conversion, source, tmp_path) -> None:
    whole = conversion("bodex")(source, tmp_path / "whole.h5")
    expected = GraspStore(whole.store).content_hash
    seen = []

    def stop(report, total) -> None:
        seen.append(report.key)
        if len(seen) in (1, 3):
            raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            conversion("bodex")(source, tmp_path / "part.h5", stop)
    assert not (tmp_path / "part.h5").exists()
    rest = conversion("bodex")(source, tmp_path / "part.h5", stop)
    assert rest.already == 3 and rest.already + len(rest.reports) == rest.scenes == len(whole.reports)
    assert GraspStore(rest.store).content_hash == expected
    parallel = replace(conversion("bodex"), executor=LocalExecutor(workers=2))(
        source, tmp_path / "parallel.h5"
    )
    assert GraspStore(parallel.store).content_hash == expected


def test_a_conversion_with_other_settings_does_not_continue(conversion, source, tmp_path) -> None:
    def stop(report, total) -> None:
        raise Stop

    with pytest.raises(Stop):
        conversion("bodex")(source, tmp_path / "s.h5", stop)
    with pytest.raises(ValueError, match=r"another configuration.*max_grasps was 1024, is 5"):
        conversion("bodex", "grasps.max_grasps=5")(source, tmp_path / "s.h5")


def test_at_most_so_many_grasps(conversion, source, tmp_path) -> None:
    summary = conversion("bodex", "grasps.max_grasps=2")(source, tmp_path / "s.h5")
    store = GraspStore(summary.store)
    assert max(store.num_grasps(row, 0) for row in range(store.num_scenes)) == 2
    assert summary.grasps.dropped > 0 and summary.grasps.moved == 0


def _ask(args) -> float:
    source, store, conversion = args
    convert_once(source, store, conversion)
    return store.stat().st_mtime_ns


def test_two_processes_that_ask_at_once_make_one_store(conversion, source, tmp_path) -> None:
    job = (source, tmp_path / "once.h5", conversion("bodex", "grasps.max_grasps=1"))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.map(_ask, [job, job], chunksize=1)
    assert first == second
    GraspStore(tmp_path / "once.h5").verify()


@pytest.fixture
def own_source(source: Path, tmp_path: Path) -> Path:
    """A copy of the source that a test may change."""
    return Path(shutil.copytree(source, tmp_path / "data"))


def move_wrists(path: Path, **moves) -> int:
    """Move the wrist of the first grasp's pre-grasp or squeeze; return how many grasps the file holds."""
    record = np.load(path, allow_pickle=True).item()
    for name, move in moves.items():
        record[name] = record[name].copy()
        record[name][0, :7] = move(record[name][0, :7])
    np.save(path, record)
    return len(record["grasp_qpos"])


def shifted(vector: np.ndarray) -> np.ndarray:
    return vector + np.r_[0.0, 0.003, 0.004, np.zeros(4)]  # sqrt(9 + 16) = 5 mm


def turned(vector: np.ndarray) -> np.ndarray:
    turn = Rotation.from_euler("x", 30.0, degrees=True)
    quat = (turn * Rotation.from_quat(vector[3:], scalar_first=True)).as_quat(scalar_first=True)
    return np.r_[vector[:3], quat]


@pytest.mark.slow
def test_grasps_whose_wrist_moves_are_left_out_and_counted(conversion, own_source, tmp_path) -> None:
    """One pre-grasp 5 mm away stays below 10 mm; one squeeze turned by 30 degrees is beyond 10."""
    files = sorted(own_source.rglob("grasps/**/*.npy"))
    shutil.copytree(own_source, tmp_path / "before")
    move_wrists(files[0], pregrasp_qpos=shifted)
    count = move_wrists(files[1], squeeze_qpos=turned)
    made = conversion("bodex")(own_source, tmp_path / "s.h5")
    assert (made.grasps.moved, [r.grasps.moved for r in made.reports]) == (1, [0, 1] + [0] * (len(files) - 2))
    assert made.grasps.motion_m == pytest.approx(0.005) and made.grasps.motion_deg < 0.1
    store = GraspStore(made.store)
    row = next(i for i in range(store.num_scenes) if store.record(i).index == 1)
    assert store.num_grasps(row, 0) == count - 1
    counted = json.loads(store.attributes["counted"])
    assert counted["grasps"]["moved"] == 1 and counted["grasps"]["motion_m"] == pytest.approx(0.005)
    assert counted["grasps"]["written"] == sum(store.num_grasps(i, 0) for i in range(store.num_scenes))
    kept = conversion("bodex", "grasps.max_wrist_motion_deg=null")(own_source, tmp_path / "kept.h5").grasps
    assert (kept.moved, kept.written) == (0, made.grasps.written + 1)
    assert kept.motion_deg == pytest.approx(30.0, abs=1e-3)
    strict = conversion("bodex", "grasps.max_wrist_motion_m=0.004")(own_source, tmp_path / "strict.h5").grasps
    assert strict.moved == 2


def test_a_scene_whose_wrists_all_move_says_so(conversion, own_source, tmp_path) -> None:
    path = sorted(own_source.rglob("grasps/**/*.npy"))[0]
    record = np.load(path, allow_pickle=True).item()
    np.save(path, {**record, "pregrasp_qpos": record["pregrasp_qpos"] + np.r_[0.02, np.zeros(22)]})
    made = conversion("bodex")(own_source, tmp_path / "s.h5")
    (skipped,) = made.counted("skipped")
    assert "whose wrist moves between pre-grasp, grasp and squeeze" in skipped.reason
    assert "conversion.grasps.max_wrist_motion_m" in skipped.reason and "null keeps them" in skipped.reason


def test_a_changed_source_is_refused(conversion, own_source, tmp_path) -> None:
    job, store = conversion("bodex"), tmp_path / "s.h5"
    convert_once(own_source, store, job)
    made = store.stat().st_mtime_ns
    convert_once(own_source, store, job)
    assert store.stat().st_mtime_ns == made
    (own_source / "notes.txt").write_text("not read, so nobody minds")
    convert_once(own_source, store, job)
    path = sorted(own_source.rglob("grasps/**/*.npy"))[0]
    name, size = path.relative_to(own_source), path.stat().st_size
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError) as caught:
        convert_once(own_source, store, job)
    assert f"changed since {store} was made of it: {name} had {size} bytes and has {size + 4}." in str(
        caught.value
    )
    assert f"Remove {store} to convert again" in str(caught.value)
    assert f"data=default data.store={store}" in str(caught.value)
    os.truncate(path, size)
    with pytest.raises(ValueError, match=f"{name} was written again"):
        convert_once(own_source, store, job)
    path.unlink()
    with pytest.raises(ValueError, match=f"{name} is gone"):
        convert_once(own_source, store, job)


def test_a_store_of_other_settings_is_not_taken(conversion, source, tmp_path) -> None:
    convert_once(source, tmp_path / "s.h5", conversion("bodex"))
    with pytest.raises(ValueError, match=r"other settings \(max_grasps was 1024, is 5\)\. Remove"):
        convert_once(source, tmp_path / "s.h5", conversion("bodex", "grasps.max_grasps=5"))


def test_a_source_that_changes_on_the_way_is_refused(conversion, own_source, tmp_path) -> None:
    extra = own_source / "objects/new.txt"

    def grow(report, total) -> None:
        extra.write_text("x")

    with pytest.raises(
        ValueError, match=r"changed since its conversion to .*s\.h5 was begun: objects/new\.txt is new"
    ):
        conversion("bodex")(own_source, tmp_path / "s.h5", grow)
    assert not (tmp_path / "s.h5").exists()
    with pytest.raises(ValueError, match=r"remove .*s\.h5\.parts to begin anew"):
        conversion("bodex")(own_source, tmp_path / "s.h5")
    extra.unlink()
    assert conversion("bodex")(own_source, tmp_path / "s.h5").already > 0


def _convert(source: Path, store: Path, job: Conversion) -> None:
    os.setpgid(0, 0)  # a group of its own: the kill meets its workers too, as the end of a machine would
    job(source, store)


@pytest.mark.slow
def test_a_conversion_killed_at_20_moments_ends_the_same(conversion, source, tmp_path) -> None:
    expected = GraspStore(conversion("bodex")(source, tmp_path / "whole.h5").store)
    job, rng, kills = (
        replace(conversion("bodex"), executor=LocalExecutor(workers=2)),
        np.random.default_rng(0),
        0,
    )
    store = tmp_path / "killed.h5"
    start = time.monotonic()
    conversion("bodex")(source, tmp_path / "timed.h5")
    whole_s = time.monotonic() - start
    context = multiprocessing.get_context("fork")
    for _ in range(20):
        process = context.Process(target=_convert, args=(source, store, job))
        process.start()
        process.join(float(rng.uniform(0.0, 0.4 * whole_s)))
        if process.is_alive():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # killed before it had a group
                process.kill()
            kills += 1
        process.join()
        if store.exists():
            assert GraspStore(store).content_hash == expected.content_hash
            store.unlink()
    assert kills >= 10
    made = job(source, store)
    assert GraspStore(made.store).content_hash == expected.content_hash
    assert GraspStore(made.store).attributes["counted"] == expected.attributes["counted"]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("killed")] == ["killed.h5"]


def test_unknown_joints_stay_unknown_where_none_are_derived(conversion, generated, tmp_path) -> None:
    foreign.objectcentric(tmp_path / "data", generated)
    made = conversion("objectcentric", "grasps.open_rad=null", "grasps.squeeze_rad=null")(
        tmp_path / "data", tmp_path / "s.h5"
    )
    store = GraspStore(made.store)
    assert store.origin.squeeze_qpos == store.origin.pregrasp_qpos == "absent"
    assert np.isnan(store.labeled(0, 0).grasps.squeeze_qpos).all()


def test_the_command(source, tmp_path, capsys, run_program) -> None:
    settings = (
        "executor.workers=1",
        "renderer.views=1",
        "grasps.max_grasps=1",
        "splits.by=object",
        "splits.test_family=0",
    )
    words = [f"source={source}", f"dest={tmp_path / 's.h5'}", "conversion=bodex"]
    assert run_program("convert_dataset", *words, *(f"conversion.{s}" for s in settings)) == 0
    said = capsys.readouterr().out
    assert "converted" in said and "scenes read" in said and "0 without a grasp, 0 bad" in said
    assert GraspStore(tmp_path / "s.h5").leaks() == []


# Splits


def entries(num_scenes: int, num_objects: int, per_scene: int) -> list[SourceScene]:
    rng = np.random.default_rng(0)
    return [
        SourceScene(
            f"scene{i}", tuple((f"o{k}", f"family{k % 7}") for k in rng.permutation(num_objects)[:per_scene])
        )
        for i in range(num_scenes)
    ]


def splits(**changes) -> Splits:
    return Splits(**{"by": "object", "val": 0.1, "test": 0.2, "test_family": 0.0, "seed": 0, **changes})


def test_shares_of_objects() -> None:
    """100 objects: 20 for the test, 10 for validation."""
    found, of_object = splits().assign(entries(2000, 100, 1))
    counts = {s: list(of_object.values()).count(s) for s in ("train", "val", "test")}
    assert counts == {"train": 70, "val": 10, "test": 20}
    assert set(found) == {"train", "val", "test"}


@pytest.mark.parametrize("by", ["object", "category"])
def test_no_object_is_grasped_in_two_splits_nor_seen_in_training(by) -> None:
    scenes = entries(300, 60, 3)
    found, of_object = splits(by=by, test_family=0.2 if by == "category" else 0.0).assign(scenes)
    in_training = {n for e, s in zip(scenes, found, strict=True) if s == "train" for n, _ in e.objects}
    assert {of_object[n] for n in in_training} == {"train"}
    for scene, split in zip(scenes, found, strict=True):
        assert split in {of_object[n] for n, _ in scene.objects}
    if by == "category":
        families = {
            s: {int(n[1:]) % 7 for n, t in of_object.items() if t == s} for s in set(of_object.values())
        }
        assert families["test_family"] and not families["test_family"] & families["train"]


def test_scenes_apart() -> None:
    found, of_object = splits(by="scene").assign(entries(100, 5, 2))
    assert of_object == {} and [found.count(s) for s in ("train", "val", "test")] == [70, 10, 20]


def test_a_split_depends_on_names_and_seed_alone() -> None:
    scenes = entries(50, 30, 1)
    again = splits().assign(scenes[::-1])[1]
    assert splits().assign(scenes)[1] == again
    assert splits(seed=1).assign(scenes)[1] != again


def test_one_category_cannot_be_held_out() -> None:
    one = [SourceScene("a", (("x", "mug"),)), SourceScene("b", (("y", "mug"),))]
    with pytest.raises(ValueError, match=r"all 2 objects are of one category \('mug'\).*splits\.by=object"):
        splits(by="category", test_family=0.1).assign(one)
