"""Where independent tasks run: one function over many, results in their order, by processes that never outlive us."""

import multiprocessing
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeVar

from sceneleapultra.utils.core.resources import usable_cpus

Task = TypeVar("Task")
Result = TypeVar("Result")
Submit = Callable[[Task], Callable[[], Result]]  # hands a task over; what it returns waits for the result

_AHEAD = 6  # tasks in work per process: one slow task holds nobody up
_PARENT_CHECK_S = 0.5


class Executor(ABC):
    """Where tasks run: this machine, a ray cluster, slurm. A plugin is named in ``config/launcher`` by ``_target_``."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """How many tasks may be handed over and unanswered at a time."""

    @abstractmethod
    def session(self, fn: Callable[[Task], Result]) -> AbstractContextManager[Submit[Task, Result]]:
        """Prepare to run ``fn``; leaving the context ends everything that was started for it."""


class LocalExecutor(Executor):
    """Processes of this machine; 0 or 1 works in the calling one, without copies.

    Args:
        workers: how many; ``auto`` takes the cores that this process may use.

    Raises:
        ValueError: fewer than 0.
    """

    def __init__(self, *, workers: int | Literal["auto"]) -> None:
        self.workers = usable_cpus() if workers == "auto" else workers
        if self.workers < 0:
            raise ValueError(
                f"workers: expected 'auto', or at least 0 processes, got {self.workers}. 0 and 1 use this process."
            )

    @property
    def in_flight(self) -> int:
        """One in this process, else enough to keep every worker busy."""
        return 1 if self.workers <= 1 else _AHEAD * self.workers

    @contextmanager
    def session(self, fn: Callable[[Task], Result]) -> Iterator[Submit[Task, Result]]:
        """Start the workers, each with its own copy of ``fn``: what it keeps stays with the worker."""
        if self.workers <= 1:
            yield lambda task: lambda: fn(task)
            return
        # Linux forks: workers start at once, and nothing is pickled but tasks and results.
        context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
        pool = ProcessPoolExecutor(
            self.workers, context, initializer=_start_worker, initargs=(fn, os.getpid())
        )
        try:
            yield lambda task: pool.submit(_work, task).result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def map_ordered(
    fn: Callable[[Task], Result],
    tasks: Iterable[Task],
    executor: Executor,
    *,
    describe: Callable[[Task], str] = repr,
) -> Iterator[Result]:
    """Yield ``fn(task)`` of each task, in the order of the tasks, as soon as each is done.

    Tasks are taken from the iterable as there is room for them, so it may be long or lazy.

    Args:
        fn: what is done; processes get a copy of it once.
        tasks: what it is done to.
        executor: where.
        describe: names a task in an error.

    Raises:
        RuntimeError: a worker died. Exceptions of ``fn`` arrive as they are, with a note that names the task.
    """
    waiting: deque[tuple[Task, Callable[[], Result]]] = deque()
    with executor.session(fn) as submit:
        for task in tasks:
            waiting.append((task, submit(task)))
            if len(waiting) >= executor.in_flight:
                yield _result(*waiting.popleft(), describe)
        while waiting:
            yield _result(*waiting.popleft(), describe)


def _result(task: Task, wait: Callable[[], Result], describe: Callable[[Task], str]) -> Result:
    try:
        with _Noted(lambda: f"while working on {describe(task)}"):
            return wait()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"A worker process died while {describe(task)} or a task after it was in work: killed (out of memory?) or "
            "crashed. Repeat the command with fewer workers; workers=1 shows where it crashes."
        ) from error


class _Noted:
    """Adds a note to whatever exception passes."""

    def __init__(self, note: Callable[[], str]) -> None:
        self._note = note

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            error.add_note(self._note())


_fn: Callable[[Any], Any] | None = None


def _start_worker(fn: Callable[[Any], Any], parent: int) -> None:
    global _fn
    _fn = fn
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """End this process when the one that started it is gone, killed or not: it would wait for work for ever.

    The parent's number is compared, not a pipe awaited: later siblings inherit the ends of earlier pipes.
    """
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def _work(task: Any) -> Any:
    assert _fn is not None
    return _fn(task)
