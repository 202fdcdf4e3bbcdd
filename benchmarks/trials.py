"""How benchmarks train and test: the project's own commands in processes of their own, with what they cost."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT

# One view each of this many unseen objects; no baselines, no pictures, the same temperature for all.
TEST = ("splits=[test]", "baselines=null", "top=null", "pictures=0", "workers=1", "sampling.temperature=0.3")


RECIPE = ("experiment=quickstart", "logger=csv", "scheduler.warmup_steps=50", "data.loading.workers=0")


def steps(number: int) -> list[str]:
    """Return the overrides of a run of so many steps."""
    return [
        f"trainer.max_steps={number}",
        f"trainer.val_check_interval={number}",
        f"callbacks.last.every_n_steps={number}",
    ]


def run(script: str, overrides: list[str], log: Path) -> dict[str, float]:
    """Run an entry point on one thread; return its processor seconds and peak memory.

    Raises:
        RuntimeError: it failed; the message holds the end of what it said.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, script, *overrides],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{script} {' '.join(overrides)} failed:\n{log.read_text()[-2000:]}")
    return {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "wall_s": round(time.monotonic() - start, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def train(run_dir: Path, overrides: list[str]) -> dict[str, float]:
    """Train, or return what an earlier call of the same cost."""
    kept = run_dir / "cost.json"
    if not kept.is_file():
        cost = run("train_lightning.py", [*overrides, f"run_dir={run_dir}"], run_dir / "train.log")
        kept.write_text(json.dumps(cost))
    found: dict[str, float] = json.loads(kept.read_text())
    return found


def test(run_dir: Path, output: Path, overrides: list[str]) -> dict[str, Any]:
    """Judge the run's last checkpoint; return what the project's results say of it."""
    if not (output / "results.json").is_file():
        words = [f"checkpoint={run_dir / 'checkpoints' / 'last.ckpt'}", f"output={output}", *TEST, *overrides]
        run("test_lightning.py", words, output / "test.log")
    document = json.loads((output / "results.json").read_text())
    summary = document["methods"][0]["summary"]
    return {
        "success": summary["stable"]["value"],
        "interval": summary["stable"]["by_object95"],
        "trials": summary["stable"]["trials"],
        "objects": summary["num_objects"],
        "penetration_mm": summary["penetration_mm"],
        "diversity_joints_rad": summary["diversity"]["joints_rad"],
        "commit": document["provenance"]["commit"],
    }


def validation_loss(run_dir: Path) -> float:
    """Return the last validation loss of a run."""
    with (run_dir / "metrics.csv").open() as file:
        return float([row["val/loss"] for row in csv.DictReader(file) if row["val/loss"]][-1])


def rate(row: dict[str, Any]) -> str:
    """Write a success rate with its interval, in percent."""
    low, high = row["interval"]
    return f"{100 * row['success']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
