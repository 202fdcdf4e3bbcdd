"""Where independent tasks run: one function over many, results in their order, by processes that never outlive us."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeVar

from sceneleapultra.utils.core.resources import usable_cpus
from sceneleapultra.utils.core.signals import SIGNALS, check, held

Task = TypeVar("Task")
Result = TypeVar("Result")
Submit = Callable[[Task], Callable[[], Result]]  # hands a task over; what it returns waits for the result

AHEAD = 6  # tasks in work per process: one slow task holds nobody up
_PARENT_CHECK_S = 0.5
_SENDING_S = 2.0  # in which a worker that is told to end may send a result: half of one would hang its reader


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
        return 1 if self.workers <= 1 else AHEAD * self.workers

    @contextmanager
    def session(self, fn: Callable[[Task], Result]) -> Iterator[Submit[Task, Result]]:
        """Start the workers, each with its own copy of ``fn``: what it keeps stays with the worker."""
        if self.workers <= 1:
            yield lambda task: lambda: fn(task)
            return
        # Linux forks: workers start at once, and nothing is pickled but tasks and results.
        context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
        pool = ProcessPoolExecutor(self.workers, context, initializer=_start_worker, initargs=(fn,))
        others = multiprocessing.active_children()
        wanted = False

        def submit(task: Task) -> Callable[[], Result]:
            with held():  # the first task starts the workers
                return pool.submit(_work, task).result

        try:
            yield submit
            wanted = True
        finally:
            if not wanted:  # nobody waits for the tasks that are in work
                end_children(others)
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
            check()
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
_working = threading.Lock()  # held while a task is in work


def _start_worker(fn: Callable[[Any], Any]) -> None:
    global _fn
    _fn = fn
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    follow_parent()


def _work(task: Any) -> Any:
    assert _fn is not None
    with _working:
        return _fn(task)


def follow_parent() -> None:
    """Tie a worker to the process that started it: it ends with it, killed or not, and whenever that says so.

    Signals that reach a whole group (Ctrl-C, ``timeout``, a scheduler) are left to the parent, which ends its workers.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None, "a worker has a parent"
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_watch, args=(parent.pid,), daemon=True).start()


def end_children(others: Collection[Any] = ()) -> None:
    """Tell the workers that this process started, but for ``others``, to end."""
    for child in multiprocessing.active_children():
        if child not in others:
            child.terminate()


def _watch(parent: int) -> None:
    """End this process when its parent is gone or sends SIGTERM.

    The parent's number is compared, not a pipe awaited: later siblings inherit the ends of earlier pipes. Nor is the
    system asked for a signal on its death, which would come when the *thread* ends that started the worker.
    """
    while os.getppid() == parent:
        if not hasattr(signal, "sigtimedwait"):  # not Linux
            time.sleep(_PARENT_CHECK_S)
            continue
        sent = signal.sigtimedwait(SIGNALS, _PARENT_CHECK_S)
        if sent is not None and (sent.si_pid, sent.si_signo) == (parent, signal.SIGTERM):
            _leave()
    os._exit(1)


def _leave() -> None:
    deadline = time.monotonic() + _SENDING_S
    while _working.acquire(blocking=False) and time.monotonic() < deadline:
        _working.release()
        time.sleep(0.01)
    os._exit(0)


_LAUNCHER = "SCENELEAPULTRA_LAUNCHER"  # the process that starts the others of a training on this machine


@contextmanager
def follow_launcher() -> Iterator[bool]:
    """End a process of a training when the one that launched it is gone; others may live longer than who started them.

    Yields:
        Whether a training process launched this one, and answers for its exit status.
    """
    launcher = int(os.environ.setdefault(_LAUNCHER, str(os.getpid())))
    launched = launcher != os.getpid()
    if launched or "TORCHELASTIC_RUN_ID" in os.environ:
        parent = launcher if launched else os.getppid()
        threading.Thread(target=_watch_launcher, args=(parent,), daemon=True).start()
    try:
        yield launched
    finally:  # another training that this process starts later follows its own
        if not launched:
            del os.environ[_LAUNCHER]


def _watch_launcher(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


@contextmanager
def one_of_several(words: list[str]) -> Iterator[None]:
    """Run one training of a multirun: the processes it launches get its own words, the next one a fresh environment.

    Raises:
        Stopped: a signal asked for an end while the one before was finishing.
    """
    check()
    argv, environ = sys.argv, dict(os.environ)
    sys.argv = [argv[0], *words]
    try:
        yield
    finally:
        if (distributed := sys.modules.get("torch.distributed")) is not None and distributed.is_initialized():
            distributed.destroy_process_group()
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environ)
