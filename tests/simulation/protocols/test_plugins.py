"""Can a trial and a metric come from outside the project, and do their columns reach results and report?"""

import json

import numpy as np
import pytest

from sceneleapultra.simulation.protocols import HandModel, Protocol, evaluate_grasps, evaluate_many
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.parallel import LocalExecutor
from sceneleapultra.utils.records import Grasps, Scene


@pytest.fixture
def hang(trial_plugin: str) -> Protocol:
    """A protocol that names the plugin's trial as a YAML would."""
    config = load_group("protocol", "dgb-fc-quick")
    config.name = "hang"
    config.trial = {"_target_": f"{trial_plugin}.trial.Hang", "approach": config.trial.approach, "steps": 50}
    made: Protocol = build(config)
    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trial_from_outside_fills_its_own_columns(
    hang: Protocol, hand_model: HandModel, scene: Scene, grasps: Grasps, workers: int
) -> None:
    table = evaluate_grasps(hand_model, scene, grasps, hang, workers=workers)
    assert table.protocol == "hang" and len(hang.hash) == 16
    assert table["direction_success"].shape == (5, 1)
    # Nothing holds it while the fingers close, for 20 way-points of 10 steps and 50 more of 4 ms: 1 s of free fall.
    assert table["sag_m"][3] == pytest.approx(0.5 * 9.81 * 1.0**2, rel=0.01)
    assert not table["stable"].any()
    summary = table.summary()
    assert summary["sag_mm"] == pytest.approx(1e3 * table["sag_m"].mean())
    assert summary["sag_mm_median"] == pytest.approx(1e3 * np.median(table["sag_m"]))
    assert summary == json.loads(json.dumps(summary))


def test_its_constants_are_in_the_hash(hang: Protocol, trial_plugin: str) -> None:
    config = load_group("protocol", "dgb-fc-quick")
    config.trial = {"_target_": f"{trial_plugin}.trial.Hang", "approach": config.trial.approach, "steps": 51}
    assert build(config).hash != hang.hash


def test_a_metric_from_outside_is_measured_and_explained(
    trial_plugin: str, hand_model: HandModel, scene: Scene, grasps: Grasps
) -> None:
    metric = build({"_target_": f"{trial_plugin}.metric.palm_height"})
    jobs = [(scene, 0, grasps)]
    (table,) = evaluate_many(hand_model, jobs, "dgb-fc-quick", LocalExecutor(workers=1), metrics=[metric])
    # The fourth hand is 0.5 m higher than the first.
    assert table["palm_height_m"][3] - table["palm_height_m"][0] == pytest.approx(0.5)
    assert table.summary()["palm_height_mm"] == pytest.approx(1e3 * table["palm_height_m"].mean())
    (explained,) = [m for m in table.measures() if m["keys"] == ["palm_height_mm"]]
    assert explained == {
        "keys": ["palm_height_mm"],
        "label": "palm height",
        "unit": "mm",
        "help": "Height of the hand above the object.",
    }
    # What was there before is measured as before.
    (plain,) = evaluate_many(hand_model, jobs, "dgb-fc-quick", LocalExecutor(workers=1))
    for name in plain.values:
        np.testing.assert_array_equal(plain[name], table[name])
