"""Does a sweep that is killed with all its trainings go on to what it would have found?"""

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
            "trials=4",
        ),
        "sweep.pruning.startup_trials=1",
        "sweep.space.scheduler.warmup_steps.int=[1,3]",
        *(f"+train.{word}" for word in (*fixed, "trainer.max_steps=12", "trainer.val_check_interval=4")),
    ]


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=NAME, storage=open_storage(storage_of(folder))).trials


def test_a_killed_sweep_goes_on(tiny_data: list[str], tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(
        command(whole, tiny_data), cwd=ROOT, env=environ, check=True, timeout=300, capture_output=True
    )
    with subprocess.Popen(command(cut, tiny_data), cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as begun:
        # The second trial is in the middle when the power goes.
        metrics = cut / "trials" / "001" / "metrics.csv"
        deadline = time.monotonic() + 200
        while not metrics.is_file() and begun.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        begun.send_signal(signal.SIGKILL)
    assert begun.returncode == -signal.SIGKILL
    done = subprocess.run(
        command(cut, tiny_data),
        cwd=ROOT,
        env=environ,
        check=True,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert "trial 0:" not in done.stdout and "trial 1:" in done.stdout
    found, wanted = trials(cut), trials(whole)
    assert [t.params for t in found] == [t.params for t in wanted]
    assert [(t.state, t.value, t.intermediate_values) for t in found] == [
        (t.state, t.value, t.intermediate_values) for t in wanted
    ]
    assert {t.state.name for t in found} == {"COMPLETE", "PRUNED"}
    best = OmegaConf.load(cut / "experiment" / "best.yaml")
    assert (
        best.optimizer.lr
        == min(
            (t for t in found if t.value is not None and t.state.name == "COMPLETE"), key=lambda t: t.value
        ).params["optimizer.lr"]
    )
    assert "Trials" in (cut / "sweep.html").read_text()
