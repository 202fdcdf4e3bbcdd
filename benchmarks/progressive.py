"""Do phases pay? The quickstart's training with and without a first phase, at equal processor time.

    python -m benchmarks.progressive --store data/quick.h5 --seconds 210 --seeds 0 1

Steps of both kinds are timed first, in two short runs each, whose difference is free of what a start costs; then every
run gets as many steps as fit into ``--seconds`` of processor time by that, half of it in the phase where there is one,
and a schedule that ends with them. Reported is what the runs took, and the validation loss at their end. A run that is
in the results already is not repeated: the same command continues.
"""

import csv
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, command_line, table, write

PHASE = {"batch_size": 24, "points": 256}  # the scenes of the whole training's steps, a third of their points
WAYS = ("whole", "phase")
_SHORT, _LONG = 10, 50  # steps of the runs that are timed


def main() -> None:
    """Time, train, write."""
    parser = command_line(__doc__)
    parser.add_argument("--store", default="data/quick.h5")
    parser.add_argument("--seconds", type=float, default=210.0, help="processor time of a run's steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--json", type=Path, default=RESULTS / "progressive.json")
    arguments = parser.parse_args()
    found: dict[str, Any] = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    document = {"store": Path(arguments.store).name, "phase": PHASE, "seconds": arguments.seconds}
    document |= {"step_s": found.get("step_s", {}), "runs": found.get("runs", [])}
    for way in WAYS:
        if way not in document["step_s"]:
            times = [_train(arguments.store, 0, n if way == "whole" else 0, n)[1] for n in (_SHORT, _LONG)]
            document["step_s"][way] = (times[1] - times[0]) / (_LONG - _SHORT)
            write(document, arguments.json, seed=arguments.seeds)
    for seed in arguments.seeds:
        for way in WAYS:
            if any(run["way"] == way and run["seed"] == seed for run in document["runs"]):
                continue
            share = 0.0 if way == "whole" else 0.5
            steps = {
                name: round(part * arguments.seconds / document["step_s"][name])
                for name, part in (("whole", 1.0 - share), ("phase", share))
            }
            loss, took = _train(arguments.store, seed, steps["whole"], sum(steps.values()))
            run = {"way": way, "seed": seed, "steps": steps, "processor_s": took, "val_loss": loss}
            document["runs"].append(run)
            write(document, arguments.json, seed=arguments.seeds)
    rows = [
        [
            run["way"],
            str(run["seed"]),
            f"{run['steps']['phase']} + {run['steps']['whole']}",
            f"{run['processor_s']:.0f}",
            f"{run['val_loss']:.4f}",
        ]
        for run in document["runs"]
    ]
    print(table(["training", "seed", "steps (phase + whole)", "processor time, s", "validation loss"], rows))


def _train(store: str, seed: int, whole: int, steps: int) -> tuple[float, float]:
    """Train so many steps, the last ``whole`` of them with whole clouds; return validation loss and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "experiment=quickstart",
            f"data.store={store}",
            "data.loading.workers=0",
            "logger=csv",
            f"seed={seed}",
            f"run_dir={folder}/run",
            f"trainer.max_steps={steps}",
            f"trainer.val_check_interval={steps}",
            f"scheduler.warmup_steps={max(1, steps // 15)}",
        ]
        if whole < steps:
            words.append(
                f"data.loading.progressive=[{{steps: {steps - whole}, batch_size: {PHASE['batch_size']}, "
                f"points: {PHASE['points']}}}]"
            )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "train_lightning.py", *words], cwd=ROOT, check=True, stdout=sys.stderr
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        with Path(folder, "run/metrics.csv").open() as file:
            losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row.get("val/loss")]
    took = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return losses[-1], took


if __name__ == "__main__":
    main()
