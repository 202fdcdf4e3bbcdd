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


SETTINGS = {"checkpoint": "a", "sampling": "20 steps"}
CURVE = [{"temperature": 0.4, "num_objects": 8}]


def test_a_tuning_is_read_back_for_the_same_settings_only(tmp_path: Path):
    assert read_tuning(tmp_path, SETTINGS) is None
    with pytest.raises(FileNotFoundError, match=r"there is no .*tuning.json"):
        tuned_temperature(tmp_path, SETTINGS)
    grid = {"grid": (0.3, 0.4)}  # a tuple comes back as a list
    written = write_tuning(tmp_path, {"temperature": 0.4, "curve": CURVE, "sentence": ""}, SETTINGS | grid)
    assert read_tuning(tmp_path, SETTINGS | grid) == written
    assert written["settings"] == SETTINGS | {"grid": [0.3, 0.4]}
    assert read_tuning(tmp_path, SETTINGS | grid | {"checkpoint": "b"}) is None
    assert tuned_temperature(tmp_path, SETTINGS) == 0.4


@pytest.mark.parametrize(("key", "value"), [("checkpoint", "b"), ("sampling", "20 steps, guided")])
def test_a_temperature_tuned_for_something_else_is_not_used(tmp_path: Path, key: str, value: str):
    write_tuning(tmp_path, {"temperature": 0.4}, SETTINGS)
    with pytest.raises(ValueError, match=f"was tuned for {key} .*, this is {value}"):
        tuned_temperature(tmp_path, SETTINGS | {key: value})


@pytest.mark.parametrize("curve", [[{"num_objects": 24}, {"num_objects": 2}], [], None])
def test_a_temperature_tuned_on_few_objects_is_not_used(tmp_path: Path, curve: object):
    write_tuning(tmp_path, {"temperature": 0.4, "curve": curve}, SETTINGS)
    with pytest.raises(
        ValueError, match=r"tuned on [02] objects, 8 are needed .* tuning\.max_items=8 or more"
    ):
        tuned_temperature(tmp_path, SETTINGS)
    assert read_tuning(tmp_path, SETTINGS) is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"temperature": 99, "settings": {}}', "temperature=99, expected 0 to 2"),
        ('{"temperature": -1, "settings": {}}', "temperature=-1, expected 0 to 2"),
        ('{"temperature": NaN, "settings": {}}', "temperature=nan, expected 0 to 2"),
        ('{"temperature": "cold", "settings": {}}', "temperature=cold, expected 0 to 2"),
        ('{"temperature": 0.5}', "has no 'settings'"),
        ('{"temperature": 0.5, "settings": {"check', "is no JSON"),
        ("[]", "expected a JSON object, got list"),
        ("", "it is empty"),
    ],
)
def test_a_damaged_tuning_is_one_sentence_with_its_path(tmp_path: Path, content: str, words: str):
    path = tmp_path / "tuning.json"
    path.write_text(content)
    for read in (read_tuning, tuned_temperature):
        with pytest.raises(ValueError, match=words) as caught:
            read(tmp_path, SETTINGS)
        assert str(path) in str(caught.value)
        assert "Remove it, and run test_lightning.py" in str(caught.value)
