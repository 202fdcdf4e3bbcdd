"""What `profiler=stages` costs a training step, measured in two ways on the quickstart's model.

    python -m benchmarks.profiler_overhead data/quick.h5 --output benchmarks/results/profiler_overhead.json

`direct`: the processor time of entering and leaving a stage, times the stages of a step, over the processor time of a
step. `compared`: processor time of steps of one run, every other one of them with the profiler (and the clocks of
loading) on; which comes first in a pair alternates. The median of the ratios within pairs, with the 95 % interval of
10,000 bootstrap samples.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir

from benchmarks.common import command_line, write
from sceneleapultra.models.assembly import assemble
from sceneleapultra.models.statistics import set_statistics, statistics_of
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.training.profiling import DATA_STAGES, StageClock, StageProfiler

_WARMUP = 6  # steps that are not measured


class Switched(StageProfiler):
    """A profiler that does nothing while it is off; what began while it was on ends as it began."""

    def __init__(self) -> None:
        super().__init__(device_times=False, nvtx=False)
        self.on = True
        self._actions: list[bool] = []
        self._entered: list[bool] = []

    def start(self, action_name: str) -> None:
        """Enter an action, if on."""
        self._actions.append(self.on)
        if self.on:
            super().start(action_name)

    def stop(self, action_name: str) -> None:
        """Leave an action, if it was entered."""
        if self._actions.pop():
            super().stop(action_name)

    def enter(self, stage: str) -> None:
        """Begin a stage, if on."""
        self._entered.append(self.on)
        if self.on:
            super().enter(stage)

    def leave(self) -> None:
        """End a stage, if it was begun."""
        if self._entered.pop():
            super().leave()


class Steps(pl.Callback):
    """Measures the processor time of each step, and switches the profiler between them: on off, off on, ..."""

    def __init__(self, profiler: Switched) -> None:
        self.profiler, self.last = profiler, 0.0
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self.clocks = {on: StageClock(DATA_STAGES, on=on) for on in (True, False)}

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """End one step and begin the next."""
        now, step = time.process_time(), trainer.global_step
        if step > _WARMUP:
            self.seconds[self.profiler.on].append(now - self.last)
        self.profiler.on = step % 4 in (0, 3)
        loader: Any = trainer.train_dataloader
        loader.dataset._clock = self.clocks[self.profiler.on]
        self.last = time.process_time()


def run(store: Path, folder: Path, steps: int) -> Steps:
    """Train some steps."""
    overrides = [
        *(
            "experiment=quickstart",
            f"data.store={store}",
            f"run_dir={folder}",
            "profiler=stages",
            "logger=csv",
        ),
        *("data.loading.workers=0", f"trainer.max_steps={steps + _WARMUP}", "scheduler.warmup_steps=1"),
        *("trainer.limit_val_batches=0", "callbacks.stages.warmup_steps=0"),
    ]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    trainer, model, data = assemble(cfg)
    data.setup("fit")
    measured = statistics_of(model, data, scenes=48, path=None)
    assert measured is not None  # the quickstart's model normalizes
    set_statistics(model.generator, measured)
    profiler = Switched()
    trainer.profiler = profiler
    timed = Steps(profiler)
    trainer.callbacks.append(timed)
    trainer.fit(model, datamodule=data)
    return timed


def pair_s(count: int = 20000) -> float:
    """Return the processor time of entering and leaving a stage."""
    profiler = StageProfiler(device_times=False, nvtx=False)
    profiler.begin()
    start = time.process_time()
    for _ in range(count):
        profiler.start("run_training_batch")
        profiler.stop("run_training_batch")
    return (time.process_time() - start) / count


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--steps", type=int, default=200, help="half of them with the profiler")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        timed = run(arguments.store, Path(folder), arguments.steps)
    pairs = list(zip(timed.seconds[True], timed.seconds[False], strict=False))
    ratios = np.array([on / off for on, off in pairs])
    drawn = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    typical = statistics.median(timed.seconds[False])
    nodes = timed.profiler.tree.nodes
    stages = sum(n.count for n in nodes.values()) / max(1, nodes["train", "step"].count)
    result = {
        "store": arguments.store.name,
        "step_ms": round(1e3 * typical, 2),
        "direct": {
            "stages_per_step": round(stages, 1),
            "us_per_stage": round(1e6 * pair_s(), 2),
            "percent_of_step": round(100 * stages * pair_s() / typical, 3),
        },
        "compared": {
            "pairs": len(pairs),
            "percent_of_step": round(100 * (float(np.median(ratios)) - 1), 2),
            "interval_95": [round(100 * (float(bound) - 1), 2) for bound in (low, high)],
        },
        "load": os.getloadavg()[0],
    }
    write(result, arguments.output, seed=0, show=True)


if __name__ == "__main__":
    main()
