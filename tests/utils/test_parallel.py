"""Does one function over many tasks give the same wherever it runs, and does nothing stay behind when it is killed?"""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sceneleapultra.utils.core.parallel import Executor, LocalExecutor, map_ordered

ROOT = Path(__file__).resolve().parents[2]


def slow_first(x: int) -> int:
    time.sleep(0.2 if x == 0 else 0.0)
    return x * x


def fail_at_three(x: int) -> int:
    if x == 3:
        raise ValueError("three is refused")
    return x


def die_at_three(x: int) -> int:
    if x == 3:
        os._exit(9)
    return x


class Counter:
    """Keeps a count where it runs."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, task: int) -> tuple[int, int]:
        self.calls += 1
        return self.calls, os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    assert list(map_ordered(slow_first, range(20), LocalExecutor(workers=workers))) == [
        x * x for x in range(20)
    ]
    assert list(map_ordered(slow_first, [], LocalExecutor(workers=workers))) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_may_be_endless_and_are_taken_as_there_is_room(workers: int) -> None:
    taken = itertools.count()
    executor = LocalExecutor(workers=workers)
    results = map_ordered(slow_first, taken, executor)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    results.close()
    assert next(taken) <= 5 + executor.in_flight


def test_one_worker_is_this_process_and_unpicklable_things_work() -> None:
    offset = 5
    assert list(map_ordered(lambda x: x + offset, [1, 2], LocalExecutor(workers=1))) == [6, 7]
    counter = Counter()
    assert list(map_ordered(counter, [1, 2], LocalExecutor(workers=0))) == [
        (1, os.getpid()),
        (2, os.getpid()),
    ]
    assert counter.calls == 2


def test_each_worker_keeps_its_own_state() -> None:
    counter = Counter()
    found = list(map_ordered(counter, range(12), LocalExecutor(workers=2)))
    assert counter.calls == 0
    pids = {pid for _, pid in found}
    assert os.getpid() not in pids
    assert sum(max(calls for calls, pid in found if pid == one) for one in pids) == 12


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_names_its_task(workers: int) -> None:
    with pytest.raises(ValueError, match="three is refused") as caught:
        list(
            map_ordered(
                fail_at_three, range(9), LocalExecutor(workers=workers), describe=lambda x: f"scene {x}"
            )
        )
    assert caught.value.__notes__ == ["while working on scene 3"]


def test_a_dead_worker_is_a_sentence() -> None:
    with pytest.raises(
        RuntimeError, match=r"worker process died while scene \d or a task after it .*fewer workers"
    ):
        list(map_ordered(die_at_three, range(9), LocalExecutor(workers=2), describe=lambda x: f"scene {x}"))


def test_another_executor_needs_two_methods() -> None:
    """What a plugin is: how much may be under way, and how a task is handed over."""
    log: list[int] = []

    class Batches(Executor):
        in_flight = 3

        def session(self, fn: Callable[[int], int]) -> "Session":
            return Session(fn)

    class Session:
        def __init__(self, fn: Callable[[int], int]) -> None:
            self.fn = fn

        def __enter__(self) -> Callable[[int], Callable[[], int]]:
            return self.submit

        def __exit__(self, *_: object) -> None:
            log.append(-1)

        def submit(self, task: int) -> Callable[[], int]:
            log.append(task)
            return lambda: self.fn(task)

    assert list(map_ordered(slow_first, range(1, 5), Batches())) == [1, 4, 9, 16]
    assert log == [1, 2, 3, 4, -1]


def test_fewer_than_no_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 processes, got -1"):
        LocalExecutor(workers=-1)


PROGRAM = r"""
import itertools, os, sys, time
from sceneleapultra.utils.core.parallel import LocalExecutor, map_ordered

def work(seconds):
    os.write(1, f"{os.getpid()}\n".encode())  # at once: lines of two workers do not mix
    time.sleep(seconds)

for _ in map_ordered(work, itertools.repeat(float(sys.argv[1])), LocalExecutor(workers=3)):
    pass
"""


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def started() -> Iterator[Callable[[float], tuple[subprocess.Popen[str], list[int]]]]:
    """Start a program with three workers; return it and the numbers of its workers."""
    running = []

    def start(task_s: float) -> tuple[subprocess.Popen[str], list[int]]:
        parent = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(task_s)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        running.append(parent)
        workers: set[int] = set()
        assert parent.stdout is not None
        while len(workers) < 3:
            workers.add(int(parent.stdout.readline()))
        return parent, sorted(workers)

    yield start
    for parent in running:
        parent.kill()
        parent.wait()
        parent.stdout.close()


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="needs /proc to see whether a process is alive"
)
@pytest.mark.parametrize("task_s", [0.05, 60.0])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_killed_parent(started, task_s: float, signum: signal.Signals) -> None:
    parent, workers = started(task_s)
    assert all(alive(pid) for pid in workers)
    parent.send_signal(signum)
    parent.wait(timeout=10)
    deadline = time.monotonic() + 5.0
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if alive(pid)]
