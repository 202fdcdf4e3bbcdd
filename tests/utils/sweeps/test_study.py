"""Does a sweep that was killed go on as if it had not been, and end what falls behind?"""

from pathlib import Path
from typing import Any

import pytest

from sceneleapultra.utils.sweeps.pruning import PruneTrial
from sceneleapultra.utils.sweeps.space import Setting
from sceneleapultra.utils.sweeps.study import PRUNED, Study, storage_of

pytest.importorskip("optuna", reason="needs sceneleapultra[sweep]")

SPACE = [
    Setting("lr", "float", (1e-4, 1e-2), True),
    Setting("depth", "int", (1, 4), False),
    Setting("way", "choice", ("a", "b"), False),
]


def opened(folder: Path, **changes: Any) -> Study:
    folder.mkdir(exist_ok=True)
    return Study.open(folder, SPACE, seed=3, mode="min", facts={"monitor": "val/loss", **changes})


def callback(folder: Path, trial: int) -> PruneTrial:
    return PruneTrial(
        storage=storage_of(folder), trial=trial, monitor="val/loss", startup_trials=1, warmup_steps=0
    )


def train(folder: Path, number: int, values: list[float]) -> None:
    """Report as a training does, until it is ended."""
    prune = callback(folder, number)
    for step, value in enumerate(values):
        if prune._behind(value, step):
            return


def sweep(study: Study, folder: Path, trials: int) -> None:
    while len(study.trials) < trials:
        number, values = study.begin(None)
        train(folder, number, [values["lr"], values["lr"] / 2])
        study.end(number, failed=False)


@pytest.mark.slow
def test_a_sweep_that_was_stopped_proposes_what_an_unstopped_one_does(tmp_path: Path) -> None:
    whole = opened(tmp_path / "whole")
    sweep(whole, tmp_path / "whole", 7)
    first = opened(tmp_path / "cut")
    sweep(first, tmp_path / "cut", 3)
    number, values = first.begin(None)  # killed while it runs
    again = opened(tmp_path / "cut")
    assert again.unfinished() == [number] == [3]
    assert again.begin(3) == (3, values)
    train(tmp_path / "cut", 3, [values["lr"], values["lr"] / 2])
    again.end(3, failed=False)
    sweep(again, tmp_path / "cut", 7)
    assert [t.params for t in again.trials] == [t.params for t in whole.trials]
    assert [(t.state, t.value) for t in again.trials] == [(t.state, t.value) for t in whole.trials]
    assert len({t.params["lr"] for t in whole.trials}) == 7


def test_what_is_worse_than_the_median_is_pruned_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = opened(tmp_path)
    for values in ([3.0, 2.0], [4.0, 1.0], [5.0, 0.0]):
        number, _ = study.begin(None)
        train(tmp_path, number, values)
        study.end(number, failed=False)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "PRUNED", "PRUNED"]
    assert study.trials[1].user_attrs[PRUNED] == 0 and study.trials[0].value == 2.0
    assert study.best() is not None and study.best().number == 0  # type: ignore[union-attr]
    assert "trial 1 is pruned at step 0: val/loss 4 is worse than the median" in capsys.readouterr().out


def test_a_step_that_is_reported_again_changes_nothing(tmp_path: Path) -> None:
    study = opened(tmp_path)
    number, _ = study.begin(None)
    train(tmp_path, number, [3.0, 2.0])
    train(tmp_path, number, [9.0, 9.0, 1.0])
    assert study.end(number, failed=False).intermediate_values == {0: 3.0, 1: 2.0, 2: 1.0}


def test_trials_without_a_finite_number_and_failed_ones_have_no_value(tmp_path: Path) -> None:
    study = opened(tmp_path)
    for values, failed in (([float("nan")], False), ([], False), ([1.0], True)):
        number, _ = study.begin(None)
        train(tmp_path, number, values)
        assert study.end(number, failed=failed).state.name == "FAIL"
    assert study.best() is None and study.importances() == {}


@pytest.mark.slow
def test_what_decides_is_important(tmp_path: Path) -> None:
    study = opened(tmp_path)
    for _ in range(14):
        number, values = study.begin(None)
        callback(tmp_path, number)._open().report(values["depth"] + 1e-3 * values["lr"], 0)
        study.end(number, failed=False)
    found = study.importances()
    assert sum(found.values()) == pytest.approx(1.0) and max(found, key=lambda key: found[key]) == "depth"


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(
        ValueError, match="holds a sweep of other settings: monitor was val/loss, is val/stable"
    ):
        opened(tmp_path, monitor="val/stable")
