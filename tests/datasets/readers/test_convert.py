"""Does a conversion end the same whoever does it and however often it is stopped, and are its splits apart?"""

import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import foreign

from datasets import GraspStore
from datasets.exporters import EXPORTERS
from datasets.readers import convert_once
from datasets.readers.base import Entry
from datasets.readers.splits import Splits
from hands import load_hand
from scripts.convert_dataset import main

HAND = load_hand("leap_right")


@pytest.fixture(scope="module")
def source(generated: GraspStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodex") / "data"
    EXPORTERS["bodex"](generated, HAND, folder, lambda _: None)
    return folder


class Stop(Exception):
    pass


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
    parallel = replace(conversion("bodex"), workers=2)(source, tmp_path / "parallel.h5")
    assert GraspStore(parallel.store).content_hash == expected


def test_a_conversion_with_other_settings_does_not_continue(conversion, source, tmp_path) -> None:
    def stop(report, total) -> None:
        raise Stop

    with pytest.raises(Stop):
        conversion("bodex")(source, tmp_path / "s.h5", stop)
    with pytest.raises(ValueError, match=r"another configuration.*max_grasps was 1024, is 5"):
        conversion("bodex", "max_grasps=5")(source, tmp_path / "s.h5")


def test_at_most_so_many_grasps(conversion, source, tmp_path) -> None:
    summary = conversion("bodex", "max_grasps=2")(source, tmp_path / "s.h5")
    store = GraspStore(summary.store)
    assert max(store.num_grasps(row, 0) for row in range(store.num_scenes)) == 2
    assert sum(r.dropped for r in summary.reports) > 0


def _ask(args) -> float:
    source, store, conversion = args
    convert_once(source, store, conversion)
    return store.stat().st_mtime_ns


def test_two_processes_that_ask_at_once_make_one_store(conversion, source, tmp_path) -> None:
    job = (source, tmp_path / "once.h5", conversion("bodex", "max_grasps=1"))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        first, second = pool.map(_ask, [job, job], chunksize=1)
    assert first == second
    GraspStore(tmp_path / "once.h5").verify()


def test_unknown_joints_stay_unknown_where_none_are_derived(conversion, generated, tmp_path) -> None:
    foreign.objectcentric(tmp_path / "data", generated)
    made = conversion("objectcentric", "open_rad=null", "squeeze_rad=null")(
        tmp_path / "data", tmp_path / "s.h5"
    )
    store = GraspStore(made.store)
    assert store.origin.squeeze_qpos == store.origin.pregrasp_qpos == "absent"
    assert np.isnan(store.judged(0, 0).grasps.squeeze_qpos).all()


def test_the_command(source, tmp_path, capsys) -> None:
    words = [
        str(source),
        str(tmp_path / "s.h5"),
        "--format",
        "bodex",
        "workers=1",
        "studio.views=1",
        "max_grasps=1",
    ]
    assert main([*words, "splits.by=object", "splits.test_family=0"]) == 0
    said = capsys.readouterr().out
    assert "converted" in said and "scenes read" in said and "0 without a grasp, 0 bad" in said
    assert GraspStore(tmp_path / "s.h5").leaks() == []


# Splits


def entries(num_scenes: int, num_objects: int, per_scene: int) -> list[Entry]:
    rng = np.random.default_rng(0)
    return [
        Entry(
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
    one = [Entry("a", (("x", "mug"),)), Entry("b", (("y", "mug"),))]
    with pytest.raises(ValueError, match=r"all 2 objects are of one category \('mug'\).*splits\.by=object"):
        splits(by="category", test_family=0.1).assign(one)
