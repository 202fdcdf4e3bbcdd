"""A model's own grasps beside those of a store: judged as everything else, whatever the number of processes."""

from collections.abc import Sequence

import numpy as np
import pytest

from evaluation.own_grasps import OwnGraspSettings, with_own_grasps
from hands import load_hand
from models import load_grasp_model
from simulation.protocols import evaluate_grasps, get_protocol
from utils.config import CONFIG_DIR
from utils.records import JudgedGrasps, Outcome, SceneRecord

SHIPPED = CONFIG_DIR.parent / "docs" / "models" / "leap_table_cpu" / "model.ckpt"
SETTINGS = OwnGraspSettings(
    per_object=3,
    temperatures=(0.2,),
    squeeze_gains=(2.5,),
    sampler="ddim",
    steps=4,
    min_points=20,
    splits=("train",),
    seed=0,
)


def added(records: Sequence[SceneRecord], workers: int) -> list[SceneRecord]:
    return list(
        with_own_grasps(
            iter(records),
            load_grasp_model(SHIPPED),
            SETTINGS,
            hand=load_hand("leap_right"),
            protocol=get_protocol("dgb-fc-quick"),
            workers=workers,
        )
    )


def columns(judged: JudgedGrasps) -> list[np.ndarray]:
    return [
        judged.grasps.hand_pose,
        judged.success,
        judged.direction_success,
        judged.outcome,
        judged.clearance_m,
    ]


@pytest.fixture(scope="module")
def made(training_records: list[SceneRecord]) -> list[SceneRecord]:
    return added(training_records[:2], 1)


def test_grasps_are_added_behind_those_that_were_there(
    training_records: list[SceneRecord], made: list[SceneRecord]
) -> None:
    for before, after in zip(training_records[:2], made, strict=True):
        old, new = before.judged[0], after.judged[0]
        assert len(new.grasps) == len(old.grasps) + 3
        for a, b in zip(columns(old), columns(new), strict=True):
            np.testing.assert_array_equal(b[: len(a)], a)
        assert np.isfinite(new.grasps.hand_pose).all()


def test_the_verdict_is_that_of_physics_and_of_the_scene(made: list[SceneRecord]) -> None:
    for record in made:
        own = record.judged[0].grasps
        held = evaluate_grasps(
            load_hand("leap_right"), record.scene, own, protocol="dgb-fc-quick", workers=1
        ).success
        judged = record.judged[0]
        new = slice(len(own) - 3, None)
        np.testing.assert_array_equal(judged.hold[new] == 1.0, held[new])
        np.testing.assert_array_equal(judged.success[new], held[new] & (judged.clearance_m[new] >= 0.0))
        collided = judged.outcome[new] == Outcome.SCENE_COLLISION
        np.testing.assert_array_equal(collided, held[new] & (judged.clearance_m[new] < 0.0))


def test_scenes_of_other_splits_stay_as_they_are(training_records: list[SceneRecord]) -> None:
    test = [SceneRecord(**{**vars(training_records[0]), "split": "test"})]
    assert added(test, 1) == test


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(
    training_records: list[SceneRecord], made: list[SceneRecord]
) -> None:
    for one, two in zip(made, added(training_records[:2], 2), strict=True):
        for a, b in zip(columns(one.judged[0]), columns(two.judged[0]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="expected at least one grasp, one temperature and one gain"):
        OwnGraspSettings(**{**vars(SETTINGS), "per_object": 0})
