"""Do two trials at once find what one after the other find?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from factories.training import TINY

optuna = pytest.importorskip("optuna", reason="needs sceneleapultra[sweep]")

from sceneleapultra.utils.sweeps.study import NAME, open_storage, storage_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]


def swept(folder: Path, data: list[str], jobs: int) -> list[optuna.trial.FrozenTrial]:
    """Run a sweep of two trials, none of which is ended for the other's sake."""
    decided = ("scheduler.warmup_steps", "trainer.val_check")
    fixed = [word for word in [*TINY, *data] if not word.startswith(decided)]
    words = [
        f"folder={folder}",
        "trials=2",
        f"jobs={jobs}",
        "~train.experiment",
        "sweep.pruning.startup_trials=9",
    ]
    words += ["sweep.space.scheduler.warmup_steps.int=[1,3]"]
    words += [f"+train.{word}" for word in (*fixed, "trainer.max_steps=8", "trainer.val_check_interval=4")]
    command = [sys.executable, "-m", "sceneleapultra", "sweep", *words]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    subprocess.run(command, cwd=ROOT, env=environ, check=True, timeout=280, stdout=subprocess.DEVNULL)
    return optuna.load_study(study_name=NAME, storage=open_storage(storage_of(folder))).trials


@pytest.mark.slow
def test_two_trials_at_once_give_the_study_of_one_after_the_other(
    tiny_data: list[str], tmp_path: Path
) -> None:
    """The first five trials are drawn from the seed alone; later ones are proposed by what has ended by then."""
    alone, beside = (swept(tmp_path / str(jobs), tiny_data, jobs) for jobs in (1, 2))
    assert alone[1].datetime_start >= alone[0].datetime_complete
    assert beside[1].datetime_start < beside[0].datetime_complete, (
        "the second began while the first was trained"
    )
    for one, two in zip(alone, beside, strict=True):
        assert (one.number, one.state.name, one.params) == (two.number, "COMPLETE", two.params)
        assert (one.value, one.intermediate_values) == (two.value, two.intermediate_values)
        assert list(two.intermediate_values) == [4, 8]
