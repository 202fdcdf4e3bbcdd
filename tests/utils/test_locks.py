"""Does a lock file keep a second process out, say who holds it, and let go when its holder dies?"""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sceneleapultra.utils.core.locks import _owner, owned_folder, owned_lock


def _hold(path: Path, ready: Any) -> None:
    with owned_lock(path, doing="building cups", wait=False):
        ready.set()
        signal.pause()


def test_the_holder_is_named_and_death_lets_go(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", ready))
    holder.start()
    assert ready.wait(20)
    with (
        pytest.raises(
            BlockingIOError, match=rf"held by process {holder.pid} on \S+ for \d+ seconds: building cups\.$"
        ),
        owned_lock(tmp_path / "lock", doing="me", wait=False),
    ):
        pass
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    with owned_lock(tmp_path / "lock", doing="me", wait=False):
        assert '"doing": "me"' in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""


def test_workers_of_a_dead_holder_do_not_hold_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    pids = context.Queue()

    def hold_with_a_child() -> None:
        with owned_lock(tmp_path / "lock", doing="building cups", wait=False):
            if (child := os.fork()) == 0:
                signal.pause()
            pids.put(child)
            ready.set()
            signal.pause()

    holder = context.Process(target=hold_with_a_child)
    holder.start()
    assert ready.wait(20)
    child = pids.get(timeout=20)
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    try:
        os.kill(child, 0)  # is there still
        with owned_lock(tmp_path / "lock", doing="me", wait=False):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The system call is replaced: what a Lustre mounted without flock answers."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with owned_lock(tmp_path / "lock", doing="training", wait=False):
        pass
    assert "this file system has no locks, so nothing keeps a second process from training" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 seconds"), (200, "3 minutes"), (3700, "1 hour"), (9e5, "10 days")]
)
def test_the_age_of_a_lock(tmp_path: Path, seconds: float, text: str) -> None:
    owner = {"pid": 7, "host": "node", "doing": "training", "since": time.time() - seconds}
    assert _owner(json.dumps(owner)) == f"process 7 on node for {text}: training"
    assert _owner("") == _owner("{") == _owner("[]") == "another process"


def test_what_a_killed_holder_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".2404.tmp.metrics.csv").write_text("step,lo")
    (tmp_path / "metrics.csv").write_text("step,loss\n")
    with owned_folder(tmp_path, doing="training", remedy=""):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "metrics.csv"]
