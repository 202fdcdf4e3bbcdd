"""Which stage of training runs when: Lightning's actions and chosen methods, named, timed here and on the GPU."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from pytorch_lightning.profilers import Profiler

from sceneleapultra.utils.training.profiling.clock import DATA_STAGES, LoadRecord
from sceneleapultra.utils.training.profiling.tree import Node, Path, StageTree

# Lightning's name of an action ends like this, and begins like that: the stage it is. The first that fits counts.
_ACTIONS: tuple[tuple[str, str, str], ...] = (
    ("run_training_batch", "", "step"),
    ("train_dataloader_next", "", "wait"),
    ("train_next", "", "wait"),
    (".on_after_batch_transfer", "[LightningDataModule]", "augment"),
    (".batch_to_device", "[Strategy]", "h2d"),
    (".training_step", "[Strategy]", "fwd"),
    (".backward", "[Strategy]", "bwd"),
    (".configure_gradient_clipping", "[LightningModule]", "clip"),
    (".optimizer_step", "[LightningModule]", "opt"),
    ("", "[Callback]WarmupEma", "ema"),
    ("", "[Callback]SimulatedSuccess", "val.simulate"),
    ("save_checkpoint", "", "checkpoint"),
    ("val_next", "", "val.wait"),
    (".validation_step", "[Strategy]", "val.step"),
    ("", "[Callback]", "callbacks"),
)
# The optimizer's step calls forward and backward; they are stages beside it, not parts of it.
_ENCLOSING = "opt"


@dataclass
class _Frame:
    path: Path
    start: float
    carved: bool  # beside the enclosing stage, not inside
    event: Any
    marks: tuple[Any, ...]  # ranges that other tools see
    excluded_s: float = 0.0


class StageProfiler(Profiler):
    """Times the stages of training in this process and takes in what loading processes measured.

    GPU times come from events that are read when the GPU has passed them, so that nothing waits.

    Args:
        device_times: whether to record events on the GPU, where there is one.
        nvtx: whether stages are ranges in a recording of Nsight Systems.

    Raises:
        ValueError: such ranges are wanted without a GPU.
    """

    def __init__(self, *, device_times: bool, nvtx: bool) -> None:
        super().__init__()
        if nvtx and not torch.cuda.is_available():
            raise ValueError(
                "trainer.profiler.nvtx=true marks ranges for Nsight Systems, which needs a GPU; there is none. Pass "
                "trainer.profiler.nvtx=false; callbacks.stages.trace_steps=5 writes a trace on any machine."
            )
        self._nvtx = nvtx
        self.traced = False  # whether stages are ranges in a recording of torch.profiler
        self.tree = StageTree("train")
        self.loading = StageTree("data.total")
        self.read = dict.fromkeys(("hits", "misses", "mapped", "decoded", "fetched"), 0)
        self.on_device = device_times and torch.cuda.is_available()
        self._stages: dict[str, str | None] = {}
        self._stack: list[_Frame] = []
        self._pending: deque[tuple[Node, Any, Any]] = deque()
        self._began: float | None = None

    def start(self, action_name: str) -> None:
        """Enter an action of Lightning's."""
        if (stage := self._stage_of(action_name)) is not None:
            self.enter(stage)

    def stop(self, action_name: str) -> None:
        """Leave an action of Lightning's."""
        if self._stage_of(action_name) is not None:
            self.leave()

    def enter(self, stage: str) -> None:
        """Begin a stage inside the one that runs."""
        parent, carved = self.tree.root, False
        if self._stack:
            top = self._stack[-1]
            carved = top.path[-1] == _ENCLOSING and not stage.startswith(_ENCLOSING)
            parent = top.path[:-1] if carved else top.path
        event = self._event() if self.on_device else None
        marks = self._marks(stage) if self._nvtx or self.traced else ()
        self._stack.append(_Frame((*parent, stage), time.perf_counter(), carved, event, marks))

    def leave(self) -> None:
        """End the stage that runs."""
        frame = self._stack.pop()
        seconds = time.perf_counter() - frame.start
        for mark in reversed(frame.marks):
            mark.__exit__(None, None, None)
        if frame.carved:
            self._stack[-1].excluded_s += seconds
        node = self.tree.add(frame.path, seconds - frame.excluded_s)
        if frame.event is not None:
            self._pending.append((node, frame.event, self._event()))
            self.resolve(wait=False)

    def attach(self, owner: Any, method: str, stage: str) -> Callable[[], None]:
        """Time a method of an object; return what takes it off again."""
        timed = getattr(owner, method)

        @wraps(timed)
        def run(*arguments: Any, **options: Any) -> Any:
            self.enter(stage)
            try:
                return timed(*arguments, **options)
            finally:
                self.leave()

        setattr(owner, method, run)
        return lambda: delattr(owner, method)

    def loaded(self, record: LoadRecord) -> None:
        """Take in what a loading process measured."""
        for stage, seconds in zip(DATA_STAGES, record.seconds, strict=True):
            path = self.loading.root if stage == "data.total" else (*self.loading.root, stage)
            self.loading.add(path, seconds)
        for name in self.read:
            self.read[name] += getattr(record, name)

    def resolve(self, *, wait: bool) -> None:
        """Read the events that the GPU has passed; all of them when waiting is wanted."""
        if wait and self._pending:
            torch.cuda.synchronize()
        while self._pending and (wait or self._pending[0][2].query()):
            node, first, last = self._pending.popleft()
            node.device_s += first.elapsed_time(last) / 1e3

    def begin(self) -> None:
        """Start the clock of the whole: forget what came before."""
        self.tree, self.loading = StageTree("train"), StageTree("data.total")
        self.read = dict.fromkeys(self.read, 0)
        self._pending.clear()
        self._began = time.perf_counter()

    def measure(self) -> None:
        """Set the total of the whole to the time since it began."""
        if self._began is not None:
            node = self.tree.nodes[self.tree.root]
            node.count, node.total_s = 1, time.perf_counter() - self._began

    def _stage_of(self, action: str) -> str | None:
        if action not in self._stages:
            fits = (s for end, begin, s in _ACTIONS if action.endswith(end) and action.startswith(begin))
            self._stages[action] = next(fits, None)
        return self._stages[action]

    def _marks(self, stage: str) -> tuple[Any, ...]:
        marks: list[Any] = [torch.cuda.nvtx.range(stage)] if self._nvtx else []
        marks += [torch.profiler.record_function(stage)] if self.traced else []
        for mark in marks:
            mark.__enter__()
        return tuple(marks)

    def _event(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
