import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.simulation.generate import GenerateSettings, SceneReport, generate_scenes, prepare_objects
from sceneleapultra.simulation.objects import FAMILIES, FLAT_FAMILIES
from sceneleapultra.simulation.plan import ObjectSource, plan_scenes
from sceneleapultra.utils.core.config import CONFIG_DIR, build
from sceneleapultra.utils.core.parallel import Executor, LocalExecutor
from sceneleapultra.utils.records import SceneRecord

ONE = LocalExecutor(workers=1)
CONTENT = ("seed", "splits", "table", "views", "objects", "scene", "camera", "grasps", "synthesis")


def settings(*overrides: str) -> GenerateSettings:
    small = ("path=none", "grasps.successes=1", "grasps.max_attempts=8", "grasps.batch=8", "views=1")
    fast = ["camera.width=120", "camera.height=90"]
    mixed = "dataset=leap_pick" in overrides
    fast += ["synthesis.precision.postures.drawn=512"] if mixed else []
    closing = "synthesis.power" if mixed else "synthesis"
    fast.append(f"{closing}.placement.oversampling=32")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("generate", overrides=[*small, *fast, *overrides])
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    made: GenerateSettings = build(
        {"_target_": "sceneleapultra.simulation.generate.GenerateSettings", **{k: values[k] for k in CONTENT}}
    )
    return made


def make(
    hand: Hand, made: GenerateSettings, scenes: int, executor: Executor, **options: Any
) -> Iterator[Any]:
    return generate_scenes(hand, made, prepare_objects(hand, made, executor), scenes, executor, **options)


@pytest.fixture(scope="module")
def hand() -> Hand:
    return load_hand("leap_right")


@pytest.fixture(scope="module")
def small() -> GenerateSettings:
    return settings("objects.per_scene=[0.6,0.4]")


@pytest.fixture(scope="module")
def records(hand: Hand, small: GenerateSettings) -> list[SceneRecord]:
    return list(make(hand, small, scenes=4, executor=ONE))


def flat(value: Any) -> list[Any]:
    if dataclasses.is_dataclass(value):
        return [x for f in dataclasses.fields(value) for x in flat(getattr(value, f.name))]
    if isinstance(value, tuple):
        return [x for item in value for x in flat(item)]
    return [value]


def assert_same(one: SceneRecord, other: SceneRecord) -> None:
    for a, b in zip(flat(one), flat(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("override", "least"),
    [
        ("seed=-1", 0),
        ("views=-1", 0),
        ("camera.width=-3", 1),
        ("grasps.batch=0", 1),  # would go on for ever
        ("grasps.successes=0", 1),
        ("grasps.max_attempts=-5", 0),
        ("grasps.robustness.trials=-1", 0),
    ],
)
def test_numbers_too_small_are_refused_before_work_begins(override: str, least: int) -> None:
    with pytest.raises(ValueError, match=rf"{override}: expected a whole number of at least {least}\."):
        settings(override)


def test_two_workers_make_what_one_makes_in_order(
    hand: Hand, small: GenerateSettings, records: list[SceneRecord]
) -> None:
    again = list(make(hand, small, scenes=4, executor=LocalExecutor(workers=2)))
    assert [r.index for r in again] == [0, 1, 2, 3]
    for one, other in zip(records, again, strict=True):
        assert_same(one, other)


@pytest.mark.slow
def test_mixed_methods_labeled_by_lifting_are_the_same_with_two_workers(hand: Hand) -> None:
    lifted = settings("dataset=leap_pick", "objects.per_scene=[1]", "grasps.robustness.trials=0", "views=0")
    one, other = (list(make(hand, lifted, 2, LocalExecutor(workers=workers))) for workers in (1, 2))
    for a, b in zip(one, other, strict=True):
        assert_same(a, b)
    labeled = [labeled for record in one for labeled in record.labeled]
    assert sum(x.success.sum() for x in labeled) >= 1
    assert all(x.direction_success.shape[1] == 1 for x in labeled)


def test_a_killed_run_continues_with_the_same_scenes(
    hand: Hand, small: GenerateSettings, records: list[SceneRecord]
) -> None:
    (missing,) = make(hand, small, scenes=4, executor=ONE, done={0, 1, 3})
    assert_same(missing, records[2])


def test_scenes_are_complete(records: list[SceneRecord]) -> None:
    for record in records:
        assert len(record.labeled) == len(record.scene.objects) >= 1
        assert len(record.views) == 1
        for labeled in record.labeled:
            assert labeled.direction_success.shape == (len(labeled.success), 6)
            assert (labeled.clearance_m[labeled.success] >= 0).all()


def test_reports_count_what_was_made(hand: Hand, small: GenerateSettings) -> None:
    reports: list[SceneReport] = []
    (record,) = make(hand, small, 1, ONE, on_scene=reports.append)
    (report,) = reports
    assert report.families == tuple(o.family for o in record.scene.objects)
    assert report.successes == tuple(int(j.success.sum()) for j in record.labeled)
    assert sum(report.attempts) >= sum(len(j.success) for j in record.labeled)


def test_lone_objects_float(hand: Hand) -> None:
    afloat = settings("table=false", "objects.per_scene=[1]", "views=0")
    (record,) = make(hand, afloat, 1, ONE)
    assert not record.scene.table and record.views == ()
    assert sum(j.success.sum() for j in record.labeled) >= 1


def planned(seed: int = 0, scenes: int = 200, **changes: Any) -> tuple[ObjectSource, list[Any]]:
    made = settings()
    source = ObjectSource(replace(made.objects, **changes), made.splits, seed, ONE)
    return source, plan_scenes(source, scenes)


def test_plan_follows_the_shares_and_a_longer_one_begins_with_the_shorter() -> None:
    source, plans = planned()
    count = {name: sum(p.split == name for p in plans) for name in source.shares}
    for name, share in source.shares.items():
        assert abs(count[name] - 200 * share) <= 3
    assert planned(scenes=50)[1] == plans[:50]
    assert planned(seed=1)[1] != plans
    assert len({p.seed for p in plans}) == 200


def test_no_object_is_in_two_splits_and_held_out_families_are_unseen() -> None:
    source, plans = planned()
    by_split = {name: {key for p in plans if p.split == name for key in p.objects} for name in source.shares}
    names = list(by_split)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not by_split[one] & by_split[other]
    held_out = {"mug", "dumbbell", "prism"}
    assert {family for family, _ in by_split["test_family"]} == held_out
    for split in ("train", "val", "test"):
        assert not {family for family, _ in by_split[split]} & held_out
    # 140 training scenes of 1 to 3 objects go evenly through 11 families.
    families = [family for p in plans if p.split == "train" for family, _ in p.objects]
    counts = np.unique(families, return_counts=True)[1]
    assert len(counts) == 11 and counts.max() - counts.min() <= 1


def test_all_objects_are_those_of_a_grip_and_small_flat_ones_with_families_unseen_in_both() -> None:
    made = settings("objects=all")
    source = ObjectSource(made.objects, made.splits, 0, ONE)
    assert {family for keys in source.keys.values() for family, _ in keys} == {*FAMILIES, *FLAT_FAMILIES}
    held_out = {family for family, _ in source.keys["test_family"]}
    assert held_out & set(FAMILIES) and held_out & set(FLAT_FAMILIES)
    assert not held_out & {family for family, _ in source.keys["train"]}


def test_another_seed_brings_other_objects_and_each_keeps_its_split() -> None:
    seen: dict[tuple[str, int], str] = {}
    for seed in range(8):
        _, plans = planned(seed, scenes=60)
        found = {key: plan.split for plan in plans for key in plan.objects}
        assert not found.keys() & seen.keys()
        seen |= found
    first = {"train": 0, "val": 700_000, "test": 800_000, "test_family": 900_000}
    assert all(first[split] <= number < first[split] + 100_000 for (_, number), split in seen.items())


def test_a_small_pool_comes_again_but_never_twice_in_a_scene() -> None:
    pool = {"train": 1, "val": 1, "test": 1, "test_family": 1}
    _, plans = planned(per_family=pool, per_scene=(0.0, 0.0, 1.0))
    assert len({key for p in plans if p.split == "train" for key in p.objects}) == 11
    assert all(len(set(p.objects)) == len(p.objects) == 3 for p in plans)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objects.families=[mugg]"], "Unknown object family 'mugg'. Did you mean 'mug'"),
        (["+splits.trian=1"], "Unknown split 'trian'. Did you mean 'train'"),
        (["objects.held_out_families=[]"], "splits.test_family=0.1: there is no object for this split"),
        (["objects.per_family.train=0"], "objects.per_family.train: expected 1 to 100000 objects, got 0"),
        (["objects.per_scene=[]"], "objects.per_scene: expected weights"),
        (["objects.path=nowhere"], "objects.path"),
    ],
)
def test_wrong_settings_are_answered(hand: Hand, overrides: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare_objects(hand, settings(*overrides), ONE)


def test_a_hand_that_says_too_little_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "claw.xml").write_text(
        """<mujoco><worldbody><body><geom size="0.02"/><body name="f"><joint name="j" range="0 1"/>
        <geom size="0.01"/></body></body></worldbody></mujoco>"""
    )
    claw = load_hand(tmp_path / "claw.xml")
    missing = r"Generating grasps needs to know of hand 'claw': palm, thumb, flexion_sign, rest_qpos\. "
    with pytest.raises(ValueError, match=missing):
        prepare_objects(claw, settings(), ONE)
    with pytest.raises(ValueError, match="palm, thumb, flexion_sign, rest_qpos, contacts, keypoints"):
        prepare_objects(claw, settings("synthesis=optimize"), ONE)


def test_bad_meshes_stop_a_run_before_its_store_is_begun(tmp_path: Path) -> None:
    (tmp_path / "open.obj").write_text("v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nf 1 2 3\n")
    stopped = run_generate(f"objects.path={tmp_path}", f"path={tmp_path / 'made.h5'}")
    assert "Expected a watertight mesh" in stopped
    assert not list(tmp_path.glob("made*"))


def run_generate(*overrides: str) -> str:
    """Return the message with which a generation of one scene ends."""
    from sceneleapultra.scripts.generate_dataset import generate

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("generate", overrides=["dataset=quick", "scenes=1", "workers=1", *overrides])
    with pytest.raises(ValueError) as refused:
        generate(cfg)
    return str(refused.value)


def test_wrong_type_names_the_key() -> None:
    with pytest.raises(ValueError, match=r"successes.*integer"):
        settings("grasps.successes=many")
