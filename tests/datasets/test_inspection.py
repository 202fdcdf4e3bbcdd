"""Is every defect that a store can have named, and is a sound store counted right?"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from factories.records import leap, scene_record, writer
from factories.stores import edited
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.inspection import Inspection, inspect
from sceneleapultra.datasets.store.opening import read_attributes
from sceneleapultra.datasets.store.schema import content_hash


def inspected(path: Path) -> Inspection:
    return inspect(GraspStore(path), leap(), lambda _: None)


def test_a_sound_store_is_counted(finished_store: Path) -> None:
    """12 scenes with 2 objects, 2 views and 2 x 9 grasps each, of which 6 succeed; 6 scenes are for training."""
    told: list[int] = []
    found = inspect(GraspStore(finished_store), leap(), told.append)
    assert found.problems == []
    assert told == list(range(1, 13))
    assert found.scenes == {"train": 6, "val": 2, "test": 2, "test_family": 2}
    assert found.views == {"train": 12, "val": 4, "test": 4, "test_family": 4}
    train = found.counts["train", "family0"]
    assert (len(train.objects), train.placed, train.solved, train.grasps, train.successes) == (
        6,
        6,
        6,
        54,
        36,
    )
    assert set(found.counts) == {
        *((split, f"family{i}") for split in ("train", "val", "test") for i in range(2)),
        *(("test_family", f"unseen-family{i}") for i in range(2)),
    }
    assert found.outcomes["success"] == 12 * 12 and found.outcomes["slipped"] == 12 * 6
    # Of rows 1, 2, 4, 5, 7 and 8, the successes, types are the row's number modulo 4.
    assert found.grasp_types == {"unknown": 48, "power": 48, "precision": 24, "lateral": 24}
    assert found.qpos.shape == (144, 16) and found.penetration_mm.shape == (144,)
    assert found.visible.tolist() == [200.0] * 48
    assert found.robustness.shape == (144,)


def damaged(path: Path, column: str, change: Callable[[np.ndarray], None]) -> None:
    """Change a column, and let the content hash agree, as a faulty generator would."""
    with edited(path) as file:
        values = file[column][...]
        change(values)
        file[column][...] = values
        file.attrs["content_hash"] = content_hash(file, read_attributes(file))


def joint(values: np.ndarray) -> None:
    values[0, 3] = 3.0  # the first joint of the LEAP hand ends at 2.23


def away(values: np.ndarray) -> None:
    values[0, 0] = 2.0


def nothing(values: np.ndarray) -> None:
    values[0, 5] = np.nan


def longer(values: np.ndarray) -> None:
    values[0, -4:] *= 1.1


def inside(values: np.ndarray) -> None:
    values[1] = -0.01  # the second grasp is a success


def turned_off(values: np.ndarray) -> None:
    values[1] = False


def shifted(values: np.ndarray) -> None:
    values[:550, 2] -= 0.4  # the points of the first view, as if in another frame


def mixed(values: np.ndarray) -> None:
    values[:550] = values[:550][::-1].copy()


@pytest.mark.parametrize(
    ("column", "change", "sentence"),
    [
        ("grasps/hand_pose", joint, "(train-0-0): grasp 0.770 rad beyond a joint limit"),
        ("grasps/pregrasp_qpos", nothing, "pregrasp_qpos has values that are not finite"),
        ("grasps/hand_pose", nothing, "grasps of object 0: hand_pose has values that are not finite"),
        ("grasps/hand_pose", longer, "quaternions that are not of unit length"),
        ("grasps/hand_pose", away, "m from its object; are the poses in the world frame?"),
        ("grasps/clearance_m", inside, "a success with the hand 10.0 mm in table or neighbor"),
        ("grasps/success", turned_off, "success and outcome contradict each other"),
        ("views/points", shifted, "view 0: points 400 mm below the table"),
        ("views/points", shifted, "view 0: points of object 0 are not where it lies"),
        ("views/instance", mixed, "view 0: points not in blocks by instance"),
    ],
)
def test_defects_are_named_with_their_scene(
    store_path: Path, column: str, change: Callable[[np.ndarray], None], sentence: str
) -> None:
    damaged(store_path, column, change)
    problems = inspected(store_path).problems
    assert any(problem.startswith("scene 0: ") and sentence in problem for problem in problems), problems


def test_a_changed_file_is_named(store_path: Path) -> None:
    with edited(store_path) as file:
        file["grasps/penetration_m"][0] += 1e-6
    (problem,) = inspected(store_path).problems
    assert "content hash" in problem


def test_changed_attributes_are_named(store_path: Path) -> None:
    with edited(store_path) as file:
        file.attrs["generator"] = json.dumps({"scenes": 13})
    (problem,) = inspected(store_path).problems
    assert "content hash" in problem


def test_leaks_between_splits_are_named(tmp_path: Path) -> None:
    first, family = scene_record(0), scene_record(1, "test_family")
    known = tuple(replace(o, family="family1") for o in family.scene.objects)
    w = writer(tmp_path / "s.h5")
    w.write(first)
    w.write(replace(first, index=2, split="val"))
    w.write(replace(family, scene=replace(family.scene, objects=known)))
    assert inspected(w.finish()).problems == [
        "object 'train-0-0' is in more than one split",
        "object 'train-0-1' is in more than one split",
        "family 'family1' is held out (test_family) and in another split",
    ]
