from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sceneleapultra.evaluation.results import GraspResults
from sceneleapultra.evaluation.tuning import read_tuning, tune_temperature, tuned_temperature, write_tuning


def result(stored_result, share: float, split: str = "val") -> GraspResults:
    found = stored_result(split)
    stable = np.arange(len(found.table)) < share * len(found.table)
    return replace(found, table=found.table.with_columns({"stable": stable}))


def test_the_best_temperature_wins_and_of_equals_the_highest(stored_result):
    shares = {0.3: 0.2, 0.5: 0.6, 0.7: 0.6, 1.0: 0.1}
    tuning = tune_temperature(lambda t: result(stored_result, shares[t]), list(shares))
    assert tuning["temperature"] == 0.7
    assert [point["temperature"] for point in tuning["curve"]] == [0.3, 0.5, 0.7, 1.0]
    assert tuning["curve"][1]["stable"]["successes"] == 12  # 0.6 of 20
    assert "validation objects" in tuning["sentence"]


def test_test_objects_are_refused(stored_result):
    with pytest.raises(ValueError, match="never on test"):
        tune_temperature(lambda t: result(stored_result, 0.5, split="test"), [0.5])


def test_a_tuning_is_read_back_for_the_same_settings_only(tmp_path: Path):
    assert read_tuning(tmp_path, {"checkpoint": "a"}) is None
    with pytest.raises(FileNotFoundError, match=r"there is no .*tuning.json"):
        tuned_temperature(tmp_path)
    write_tuning(tmp_path, {"temperature": 0.4, "curve": [], "sentence": ""}, {"checkpoint": "a"})
    assert read_tuning(tmp_path, {"checkpoint": "a"})["temperature"] == 0.4
    assert read_tuning(tmp_path, {"checkpoint": "b"}) is None
    assert tuned_temperature(tmp_path) == 0.4
