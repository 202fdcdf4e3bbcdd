"""Rounds of active learning: the same end whenever they are stopped, labels simulated once, scorers that learn."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from factories.shipped import LEAP_TABLE_CPU
from sceneleapultra.evaluation.active_learning import (
    LearningSettings,
    ScorerSettings,
    learn,
    success_probability,
    train_scorers,
)
from sceneleapultra.evaluation.grasp_pool import LabeledPool, open_pool
from sceneleapultra.evaluation.self_training import SelfTrainingSettings
from sceneleapultra.hands import load_hand
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.network.heads.surface import SurfaceScoreConfig
from sceneleapultra.simulation.protocols import evaluate_grasps, get_protocol
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.records import SceneRecord

PROPOSED = SelfTrainingSettings(
    per_object=6,
    candidates=6,
    temperatures=(0.5,),
    squeeze_gains=(1.0,),
    sampling={"steps": 2, "rank": "none"},
    min_points=20,
    splits=("train",),
    seed=0,
)
HEAD = SurfaceScoreConfig(
    widths=(8, 8), dim=16, target_points=12, other_points=4, keep=0.5, reach=0.1, contact_scale=0.02
)
SCORER = ScorerSettings(head=HEAD, members=2, steps=2, batch=6, lr=3e-3)
SETTINGS = LearningSettings(acquisition="disagreement", rounds=3, per_round=3, scorer=SCORER, seed=0)


@pytest.fixture(scope="module")
def model() -> GraspModel:
    return load_grasp_model(LEAP_TABLE_CPU)


def pools(folder: Path, records: list[SceneRecord], model: GraspModel) -> list[LabeledPool]:
    """Two objects to choose grasps of, and one to test on."""
    return [
        open_pool(
            folder / name,
            some,
            model,
            PROPOSED,
            facts={"store": "x"},
            hand=load_hand("leap_right"),
            protocol=get_protocol("dgb-fc-quick"),
            executor=LocalExecutor(workers=1),
        )
        for name, some in (("pool", records[:2]), ("test", records[2:3]))
    ]


def rounds_in(path: Path) -> list[dict]:
    """The rounds without what a label cost, which no two runs share."""
    return [{k: v for k, v in one.items() if k != "cpu_s"} for one in json.loads(path.read_text())["rounds"]]


@pytest.mark.slow
def test_a_run_that_was_stopped_anywhere_goes_on_to_the_same_end(
    tmp_path: Path, training_records: list[SceneRecord], model: GraspModel
) -> None:
    path = tmp_path / "one" / "rounds.json"
    pool, test = pools(tmp_path / "one", training_records, model)
    whole = learn(pool, test, model.generator, SETTINGS, path)
    assert [one["labels"] for one in whole] == [3, 6, 9]
    assert len({row for one in whole for row in one["chosen"]}) == 9, "no grasp is chosen twice"
    assert (pool.oracle.cpu_s > 0).sum() == 9 and (test.oracle.cpu_s > 0).all()
    end = rounds_in(path)

    # Stopped behind a choice that is written down, with some of its grasps simulated.
    document = json.loads(path.read_text())
    document["rounds"] = [*document["rounds"][:1], {"chosen": document["rounds"][1]["chosen"]}]
    path.write_text(json.dumps(document))
    pool, test = pools(tmp_path / "one", training_records, model)
    pool.oracle.cpu_s[document["rounds"][1]["chosen"][:2]] = 0.0
    learn(pool, test, model.generator, SETTINGS, path)
    assert rounds_in(path) == end

    # Stopped between two rounds; another process proposes nothing anew.
    document["rounds"] = json.loads(path.read_text())["rounds"][:2]
    path.write_text(json.dumps(document))
    before = (tmp_path / "one" / "pool" / "grasps.npz").stat().st_mtime_ns
    learn(*pools(tmp_path / "one", training_records, model), model.generator, SETTINGS, path)
    assert rounds_in(path) == end
    assert (tmp_path / "one" / "pool" / "grasps.npz").stat().st_mtime_ns == before


def test_labels_are_those_of_the_simulation_and_go_back_to_their_scenes(
    tmp_path: Path, training_records: list[SceneRecord], model: GraspModel
) -> None:
    pool, _ = pools(tmp_path, training_records, model)
    rows = np.array([7, 1, 4])
    pool.oracle.label(rows[:1])
    pool.truth(rows[:1])
    pool.oracle.label(rows)
    first, second = pool.oracle.records(rows)
    assert (len(first.labeled[0]), len(second.labeled[0])) == (2, 1)
    for record in (first, second):
        labeled = record.labeled[0]
        table = evaluate_grasps(
            load_hand("leap_right"), record.scene, labeled.grasps, "dgb-fc-quick", workers=1
        )
        np.testing.assert_array_equal(labeled.outcome == 0, table["stable"] & (labeled.clearance_m >= 0))
        np.testing.assert_array_equal(labeled.stable == 1.0, table["stable"])
    truth = pool.truth(rows).flatten(0, 1)
    again, _ = pools(tmp_path, training_records, model)
    np.testing.assert_array_equal(truth, again.truth(rows).flatten(0, 1), "as another process reads it")
    assert torch.nonzero(truth.isfinite().any(1))[:, 0].tolist() == [1, 4, 7]


@pytest.mark.slow
def test_scorers_learn_what_their_labels_say(
    tmp_path: Path, training_records: list[SceneRecord], model: GraspModel
) -> None:
    """Half of the grasps are called good, the other half bad; members differ, and all find them again."""
    pool, _ = pools(tmp_path, training_records, model)
    rows, labeled = np.arange(pool.size), pool.oracle.labeled
    good = rows % 2 == 0
    for name, values in (("success", good), ("direction_success", good[:, None]), ("clearance_m", 0.01)):
        getattr(labeled, name)[:] = values
    labeled.outcome[:] = np.where(good, 0, 4)
    scorer = replace(SCORER, steps=60, batch=12, lr=1e-2, head=replace(HEAD, keep=1.0))
    heads = train_scorers(pool, rows, model.generator, replace(SETTINGS, scorer=scorer), 0)
    p = success_probability(heads, pool.encoded)
    assert p.shape == (2, pool.size) and not np.allclose(p[0], p[1])
    assert p.mean(0)[good].mean() > p.mean(0)[~good].mean() + 0.3


def test_settings_that_make_no_sense_and_folders_of_other_settings_are_refused(
    tmp_path: Path, training_records: list[SceneRecord], model: GraspModel
) -> None:
    with pytest.raises(ValueError, match=r"Unknown acquisition 'entropie'. Did you mean 'entropy'"):
        replace(SETTINGS, acquisition="entropie")
    with pytest.raises(ValueError, match="per_round: expected at least 1, got 0"):
        replace(SETTINGS, per_round=0)
    with pytest.raises(ValueError, match=r"scorer.members: expected at least 1, got 0"):
        replace(SCORER, members=0)
    opened = pools(tmp_path, training_records, model)
    with pytest.raises(ValueError, match="label 30 grasps, the pool has 12"):
        learn(*opened, model.generator, replace(SETTINGS, per_round=10), tmp_path / "r.json")
    (tmp_path / "r.json").write_text(json.dumps({"settings": {"seed": 7}, "rounds": []}))
    with pytest.raises(ValueError, match=r"begun with other settings .*seed was 7, is 0.* another folder"):
        learn(*opened, model.generator, SETTINGS, tmp_path / "r.json")
    with pytest.raises(ValueError, match=r"pool was begun with other settings \(protocol was"):
        begun = json.loads((tmp_path / "pool" / "pool.json").read_text())
        (tmp_path / "pool" / "pool.json").write_text(json.dumps({**begun, "protocol": "other"}))
        pools(tmp_path, training_records, model)
