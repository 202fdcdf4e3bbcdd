"""Does a sweep that is killed in the middle of a training go on, without a trial lost?"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from factories.training import TINY

optuna = pytest.importorskip("optuna", reason="needs sceneleapultra[sweep]")

from sceneleapultra.utils.sweeps.study import NAME, open_storage, storage_of  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.faults


def command(folder: Path, data: list[str]) -> list[str]:
    fixed = [
        word
        for word in [*TINY, *data]
        if not word.startswith(("scheduler.warmup_steps", "trainer.val_check"))
    ]
    return [
        *(
            sys.executable,
            "-m",
            "sceneleapultra",
            "sweep",
            f"folder={folder}",
            "~train.experiment",
            "trials=3",
        ),
        "sweep.pruning.startup_trials=1",
        "sweep.space.scheduler.warmup_steps.int=[1,3]",
        *(f"+train.{word}" for word in (*fixed, "trainer.max_steps=12", "trainer.val_check_interval=4")),
    ]


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=NAME, storage=open_storage(storage_of(folder))).trials


def test_a_killed_sweep_goes_on(tiny_data: list[str], tmp_path: Path) -> None:
    """That it then proposes what it would have proposed is tests/utils/sweeps/test_study.py's."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    words = command(tmp_path, tiny_data)
    with subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as begun:
        # The second trial is in the middle when the power goes.
        metrics = tmp_path / "trials" / "001" / "metrics.csv"
        deadline = time.monotonic() + 280
        while not metrics.is_file() and begun.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        begun.send_signal(signal.SIGKILL)
    assert begun.returncode == -signal.SIGKILL
    killed = trials(tmp_path)
    assert [t.state.name for t in killed] == ["COMPLETE", "RUNNING"]
    done = subprocess.run(
        words, cwd=ROOT, env=environ, check=True, timeout=280, capture_output=True, text=True
    )
    assert "trial 0:" not in done.stdout and "trial 1:" in done.stdout
    found = trials(tmp_path)
    assert [t.params for t in found[:2]] == [t.params for t in killed]
    assert found[0].datetime_complete == killed[0].datetime_complete
    assert len(found) == 3 and {t.state.name for t in found} <= {"COMPLETE", "PRUNED"}
    complete = [t for t in found if t.state.name == "COMPLETE"]
    best = min(complete, key=lambda t: t.value)
    assert OmegaConf.load(tmp_path / "experiment" / "best.yaml").optimizer.lr == best.params["optimizer.lr"]
    assert "trained to its end" in (tmp_path / "sweep.html").read_text()
