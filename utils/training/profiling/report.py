"""How a profile is told: a table at the end, a line of JSON and metrics while it runs, and what to turn."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from rich.table import Table

from sceneleapultra.utils.core.console import console, is_first_process, say
from sceneleapultra.utils.training.profiling.rules import advice
from sceneleapultra.utils.training.profiling.stages import StageProfiler
from sceneleapultra.utils.training.profiling.tree import StageTree

_METRICS = ("wait", "h2d", "fwd", "bwd", "opt")
_LEAST_SHARE = 1e-3  # of the whole, from which the table shows a stage; the file holds all


class StageReport(Callback):
    """Reports what the :class:`StageProfiler` of the Trainer measured.

    Args:
        path: file of JSON lines, one for each report.
        every_n_steps: steps between reports to the file and the loggers; the table comes at the end.
        warmup_steps: steps that are not counted: caches fill, and processes start.
        trace_steps: steps after those that torch.profiler records into ``trace_path``; they are not counted either.
        trace_path: file for Perfetto or chrome://tracing.
        methods: stage by method of the model, for example ``{fwd.encode: generator.encode}``.
    """

    def __init__(
        self,
        *,
        path: str,
        every_n_steps: int,
        warmup_steps: int,
        trace_steps: int,
        trace_path: str,
        methods: dict[str, str],
    ) -> None:
        super().__init__()
        if every_n_steps < 1:
            raise ValueError(f"callbacks.stages.every_n_steps: expected at least 1, got {every_n_steps}.")
        for name, value in {"warmup_steps": warmup_steps, "trace_steps": trace_steps}.items():
            if value < 0:
                raise ValueError(f"callbacks.stages.{name}: expected at least 0, got {value}.")
        self.path, self.every_n_steps, self.warmup_steps = Path(path), every_n_steps, warmup_steps
        self.trace_steps, self.trace_path = trace_steps, Path(trace_path)
        self.methods = methods
        self._recording: torch.profiler.profile | None = None
        self._attached: list[Any] = []
        self._first_step = 0
        self._reported = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Time the chosen methods.

        Raises:
            ValueError: a method that the model does not have, or a Trainer without the profiler.
        """
        profiler = self._profiler(trainer)
        for stage, name in self.methods.items():
            *owners, method = name.split(".")
            owner: Any = pl_module
            for part in owners:
                owner = getattr(owner, part, None)
            if not callable(getattr(owner, method, None)):
                raise ValueError(
                    f"callbacks.stages.methods.{stage}: {type(pl_module).__name__} has no method {name}. Correct it, "
                    f"or remove it with ~callbacks.stages.methods.{stage}"
                )
            self._attached.append(profiler.attach(owner, method, stage))
        self._first_step = trainer.global_step
        self._reported = trainer.global_step
        profiler.begin()
        if self.warmup_steps == 0:
            self._record(profiler)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Report when it is due."""
        profiler, step = self._profiler(trainer), trainer.global_step
        if step == self._reported:  # accumulated gradients: several batches share a step
            return
        done = step - self._first_step
        self._reported = step
        if done == self.warmup_steps:
            self._record(profiler)
        first = self.warmup_steps + self.trace_steps
        if done == first:
            self._write_trace(profiler)
            profiler.begin()
        if done > first and done % self.every_n_steps == 0:
            profiler.measure()
            metrics = self.metrics(profiler)
            if trainer.world_size > 1:
                slowest = trainer.strategy.reduce(torch.tensor(metrics["perf/step_ms"]), reduce_op="max")
                metrics["perf/step_ms_slowest"] = float(slowest)
            self._write(profiler, step)
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table and what to turn; take the clocks off."""
        profiler = self._profiler(trainer)
        self._write_trace(profiler)
        profiler.measure()
        profiler.resolve(wait=True)
        for take_off in self._attached:
            take_off()
        self._attached = []
        if not is_first_process() or ("train", "step") not in profiler.tree.nodes:
            return
        self._write(profiler, trainer.global_step)
        console.print(table("training", profiler.tree, device=profiler.on_device))
        if profiler.loading.nodes[profiler.loading.root].count:
            console.print(table("in loading processes, of a batch", profiler.loading, device=False))
            say(reading(profiler.read))
        for sentence in sentences_of(profiler) or ["No stage takes more than its share."]:
            say(sentence)

    def _record(self, profiler: StageProfiler) -> None:
        """Begin the recording, where one is wanted."""
        if self.trace_steps and is_first_process():
            kinds = [torch.profiler.ProfilerActivity.CPU]
            kinds += [torch.profiler.ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self._recording = torch.profiler.profile(activities=kinds)
            self._recording.start()
            profiler.traced = True

    def _write_trace(self, profiler: StageProfiler) -> None:
        """End the recording, where there is one, and write it."""
        profiler.traced = False
        if self._recording is not None:
            self._recording.stop()
            self.trace_path.parent.mkdir(parents=True, exist_ok=True)
            self._recording.export_chrome_trace(str(self.trace_path))
            self._recording = None

    @staticmethod
    def metrics(profiler: StageProfiler) -> dict[str, float]:
        """Return what loggers are told."""
        rows = {row.name: row for row in reversed(profiler.tree.rows())}
        steps, whole = rows["step"].count, rows["train"].total_s
        known = {name: rows[name] for name in _METRICS if name in rows}
        return {
            "perf/step_ms": 1e3 * whole / steps,
            **{f"perf/{name}_ms": 1e3 * row.total_s / steps for name, row in known.items()},
            **{f"perf/{name}_share": row.share for name, row in known.items()},
        }

    def _write(self, profiler: StageProfiler, step: int) -> None:
        if not is_first_process():
            return
        line = {
            "step": step,
            "stages": _plain(profiler.tree),
            "loading": _plain(profiler.loading),
            "read": profiler.read,
            "advice": sentences_of(profiler),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _profiler(self, trainer: pl.Trainer) -> StageProfiler:
        profiler = trainer.profiler  # type: ignore[attr-defined]
        if not isinstance(profiler, StageProfiler):
            raise ValueError(
                f"callbacks.stages reports stages, but trainer.profiler is {type(profiler).__name__}. Pass "
                "profiler=stages, which sets both."
            )
        return profiler


def sentences_of(profiler: StageProfiler) -> list[str]:
    """Return which stages take more than their share, and what to turn."""
    return advice(profiler.tree.shares(), profiler.loading.shares(), profiler.read)


def reading(read: dict[str, int]) -> str:
    """Say where what was read came from."""
    requests, size = read["hits"] + read["misses"], read["mapped"] + read["decoded"]
    hits = f"{read['hits'] / max(1, requests):.0%} of {requests} requests were answered from the cache"
    cached = (
        f"{1 - min(read['fetched'], size) / max(1, size):.0%} of {size / 1e6:.1f} MB came from the page cache"
    )
    through = f", {read['decoded'] / size:.0%} through HDF5" if read["decoded"] else ""
    return f"reading: {hits}; {cached if size else 'nothing was read'}{through}"


def table(title: str, tree: StageTree, *, device: bool) -> Table:
    """Draw a tree of stages."""
    drawn = Table(title=title, title_justify="left", box=None)
    headings = ["stage", "count", "total s", "self s", "mean ms", "p50 ms", "p95 ms", "share %"]
    for heading in [*headings, *(["GPU ms"] if device else [])]:
        drawn.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
    for row in tree.rows():
        if row.share < _LEAST_SHARE:
            continue
        cells = [
            "  " * (len(row.path) - 1) + row.name,
            str(row.count),
            *(f"{value:.2f}" for value in (row.total_s, row.self_s)),
            *(f"{value:.2f}" for value in (row.mean_ms, row.p50_ms, row.p95_ms)),
            f"{100 * row.share:.1f}",
        ]
        drawn.add_row(*cells, *([f"{row.device_ms:.2f}"] if device else []))
    return drawn


def _plain(tree: StageTree) -> list[dict[str, Any]]:
    return [
        {
            "stage": "/".join(row.path),
            "count": row.count,
            **{
                name: round(getattr(row, name), 6)
                for name in ("total_s", "self_s", "mean_ms", "p50_ms", "p95_ms", "device_ms", "share")
            },
        }
        for row in tree.rows()
    ]
