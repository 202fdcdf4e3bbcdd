"""What `profiler=stages` costs a training step, measured in two ways on the quickstart's model.

    python benchmarks/profiler_overhead.py data/quick.h5 --output benchmarks/results/profiler_overhead.json

`direct`: the processor time of entering and leaving a stage, times the stages of a step, over the processor time of a
step. `compared`: processor time of steps with and without it, in rounds that alternate, so that what else the machine
does falls on both alike; the median of the differences of neighbouring rounds, and their spread.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir

from train_lightning import assemble
from utils.config import CONFIG_DIR
from utils.profiling import StageProfiler
from utils.run_folder import git_state

_WARMUP = 5  # steps that are not measured


class Steps(pl.Callback):
    """Measures the processor time of the steps after the first ones."""

    def __init__(self) -> None:
        self.start, self.seconds, self.steps = 0.0, 0.0, 0

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Begin after the warm-up, and end with the last step."""
        if trainer.global_step == _WARMUP:
            self.start = time.process_time()
        self.seconds, self.steps = time.process_time() - self.start, trainer.global_step - _WARMUP


def run(store: Path, folder: Path, profiler: str, steps: int) -> tuple[float, StageProfiler | None]:
    """Train some steps; return the processor time of one, and the profiler."""
    overrides = [
        *("experiment=quickstart", f"data.store={store}", f"run_dir={folder}", f"profiler={profiler}"),
        *(
            "logger=csv",
            "data.num_workers=0",
            f"trainer.max_steps={steps + _WARMUP}",
            "scheduler.warmup_steps=1",
        ),
        *("trainer.limit_val_batches=0", "normalizer_scenes=48"),
    ]
    if profiler == "stages":
        overrides.append(f"callbacks.stages.warmup_steps={_WARMUP}")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    trainer, model, data = assemble(cfg)
    data.setup("fit")
    model.adopt(model.measure(data.first_batches(48), data.described))
    timed = Steps()
    trainer.callbacks.append(timed)
    trainer.fit(model, datamodule=data)
    return timed.seconds / timed.steps, trainer.profiler if profiler == "stages" else None


def pair_s(count: int = 20000) -> float:
    """Return the processor time of entering and leaving a stage."""
    profiler = StageProfiler(device_times=False)
    profiler.begin()
    start = time.process_time()
    for _ in range(count):
        profiler.start("run_training_batch")
        profiler.stop("run_training_batch")
    return (time.process_time() - start) / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="of each round")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    step_s: dict[str, list[float]] = {"none": [], "stages": []}
    stages = 0.0
    for k in range(arguments.rounds):
        for name in ("none", "stages") if k % 2 == 0 else ("stages", "none"):
            with tempfile.TemporaryDirectory() as folder:
                seconds, profiler = run(arguments.store, Path(folder), name, arguments.steps)
            step_s[name].append(seconds)
            if profiler is not None:
                nodes = profiler.tree.nodes
                stages = sum(n.count for n in nodes.values()) / nodes["train", "step"].count
    typical = statistics.median(step_s["none"])
    differences = [100 * (b - a) / a for a, b in zip(step_s["none"], step_s["stages"], strict=True)]
    result = {
        "commit": git_state()[0],
        "store": arguments.store.name,
        "step_ms": round(1e3 * typical, 2),
        "direct": {
            "stages_per_step": round(stages, 1),
            "us_per_stage": round(1e6 * pair_s(), 2),
            "percent_of_step": round(100 * stages * pair_s() / typical, 3),
        },
        "compared": {
            "percent_of_step": round(statistics.median(differences), 2),
            "rounds": [round(d, 2) for d in differences],
        },
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg()[0]},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
