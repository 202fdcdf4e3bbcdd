"""A model's own grasps beside those of a store: judged as everything else, whatever the number of processes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.evaluation.self_training import SelfTrainingSettings, add_tested_grasps, chosen_views
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.simulation.protocols import evaluate_grasps, get_protocol
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.records import LabeledGrasps, Outcome, SceneRecord

SHIPPED = LEAP_TABLE_CPU
SETTINGS = SelfTrainingSettings(
    per_object=3,
    candidates=3,
    temperatures=(0.2,),
    squeeze_gains=(2.5,),
    sampling={"steps": 4, "rank": "none"},
    min_points=20,
    splits=("train",),
    seed=0,
)


def added(
    records: Sequence[SceneRecord],
    workers: int,
    settings: SelfTrainingSettings = SETTINGS,
    protocol: str = "dgb-fc-quick",
) -> list[SceneRecord]:
    return list(
        add_tested_grasps(
            iter(records),
            load_grasp_model(SHIPPED),
            settings,
            hand=load_hand("leap_right"),
            protocol=get_protocol(protocol),
            executor=LocalExecutor(workers=workers),
        )
    )


def columns(labeled: LabeledGrasps) -> list[np.ndarray]:
    return [
        labeled.grasps.hand_pose,
        labeled.success,
        labeled.direction_success,
        labeled.outcome,
        labeled.clearance_m,
    ]


@pytest.fixture(scope="module")
def made(training_records: list[SceneRecord]) -> list[SceneRecord]:
    return added(training_records[:2], 1)


def test_grasps_are_added_behind_those_that_were_there(
    training_records: list[SceneRecord], made: list[SceneRecord]
) -> None:
    for before, after in zip(training_records[:2], made, strict=True):
        old, new = before.labeled[0], after.labeled[0]
        assert len(new.grasps) == len(old.grasps) + 3
        for a, b in zip(columns(old), columns(new), strict=True):
            np.testing.assert_array_equal(b[: len(a)], a)
        assert np.isfinite(new.grasps.hand_pose).all()


def test_the_verdict_is_that_of_physics_and_of_the_scene(made: list[SceneRecord]) -> None:
    for record in made:
        own = record.labeled[0].grasps
        held = evaluate_grasps(
            load_hand("leap_right"), record.scene, own, protocol="dgb-fc-quick", workers=1
        )["stable"]
        labeled = record.labeled[0]
        new = slice(len(own) - 3, None)
        np.testing.assert_array_equal(labeled.stable[new] == 1.0, held[new])
        np.testing.assert_array_equal(labeled.success[new], held[new] & (labeled.clearance_m[new] >= 0.0))
        collided = labeled.outcome[new] == Outcome.SCENE_COLLISION
        np.testing.assert_array_equal(collided, held[new] & (labeled.clearance_m[new] < 0.0))


def test_labels_are_clean_picks_where_the_protocol_lifts(training_records: list[SceneRecord]) -> None:
    record = training_records[0]
    with pytest.raises(
        ValueError, match=r"tested in 6 directions, this protocol tests 1\. Take scenes without"
    ):
        added([record], 1, protocol="scene-lift")
    bare = replace(record, labeled=(LabeledGrasps.none(16, 6),))
    (after,) = added([bare], 1, protocol="scene-lift")
    labeled = after.labeled[0]
    assert labeled.direction_success.shape == (3, 1)
    table = evaluate_grasps(
        load_hand("leap_right"), record.scene, labeled.grasps, protocol="scene-lift", workers=1
    )
    np.testing.assert_array_equal(labeled.success, table["picked_cleanly"])
    np.testing.assert_array_equal(labeled.outcome, table["outcome"])


def test_scenes_of_other_splits_stay_as_they_are(training_records: list[SceneRecord]) -> None:
    test = [SceneRecord(**{**vars(training_records[0]), "split": "test"})]
    assert added(test, 1) == test


def test_the_best_of_the_guided_candidates_are_judged(training_records: list[SceneRecord]) -> None:
    """Of six guided candidates, the three tested are the model's own best of those that differ."""
    record = training_records[0]
    (after,) = added(
        [record],
        1,
        replace(SETTINGS, candidates=6, sampling={"steps": 4, "rank": "stable", "guidance": "stable"}),
    )
    target, chosen = next(chosen_views(record, SETTINGS))
    view = record.views[chosen]
    x, y, z = view.T_world_cam[:3, 3].tolist()
    ranked = load_grasp_model(SHIPPED).sample(
        view.points,
        6,
        object_mask=view.instance == target + 1,
        viewpoint=(x, y, z),
        up=(0.0, 0.0, 1.0),
        seed=keyed_seed(0, record.index, target),
        sampling={
            "steps": 4,
            "temperature": 0.2,
            "squeeze_gain": 2.5,
            "guidance": "stable",
            "rank": "stable",
        },
    )
    assert (np.diff(ranked.score) <= 0.0).all()
    np.testing.assert_array_equal(after.labeled[target].grasps.hand_pose[-3:], ranked.best(3).hand_pose)


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(
    training_records: list[SceneRecord], made: list[SceneRecord]
) -> None:
    for one, two in zip(made, added(training_records[:2], 2), strict=True):
        for a, b in zip(columns(one.labeled[0]), columns(two.labeled[0]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="expected at least one grasp, one temperature and one gain"):
        replace(SETTINGS, per_object=0)
    with pytest.raises(ValueError, match="or more and a rank to choose by"):
        replace(SETTINGS, candidates=6)
    with pytest.raises(ValueError, match="expected as many candidates as are tested"):
        replace(SETTINGS, candidates=2, sampling={"rank": "stable"})
