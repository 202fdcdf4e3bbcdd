"""Does a first signal end a program in order, a second at once, and does an ignored one stay ignored?"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import torch

from sceneleapultra.utils.core import signals
from sceneleapultra.utils.core.cli import say_what_stopped
from sceneleapultra.utils.core.console import exit_on_user_error, print_error
from sceneleapultra.utils.core.parallel import LocalExecutor, map_ordered


def status_of(program: Callable[[], None]) -> int:
    """Run a function in a process of its own; return its status, negative where a signal killed it."""
    if (pid := os.fork()) == 0:
        status = 99
        try:
            program()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(0.01)  # the handler runs between two instructions


@pytest.mark.parametrize(
    ("name", "status"),
    [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129), ("SIGUSR1", 138), ("SIGUSR2", 140)],
)
def test_a_signal_is_an_exit_status_and_a_line(
    name: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def program() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests run under
        with say_what_stopped(), signals.says_where(lambda: "with 3 of 8 scenes done"):
            send(getattr(signal, name))
            os._exit(98)

    assert status_of(program) == status
    assert (
        capfd.readouterr().err == f"stopped by {name} with 3 of 8 scenes done; the same command continues\n"
    )


def test_where_it_is_deferred_it_is_noted_and_a_second_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signals, "_ECHO_S", 0.2)

    def program() -> None:
        with signals.stop_on_signals(), signals.deferred():
            assert signals.wished() is None
            send(signal.SIGTERM)
            assert signals.wished() == signal.SIGTERM
            send(signal.SIGINT)  # the same wish once more: torchrun's, after a terminal's
            time.sleep(0.3)
            send(signal.SIGINT)
            os._exit(98)

    assert status_of(program) == -signal.SIGINT
    assert capfd.readouterr().err == "\nSIGTERM: stopping after this step; a second signal stops at once\n"


def test_a_part_of_what_defers_may_be_ended_at_once() -> None:
    def program(early: bool) -> None:
        with signals.stop_on_signals(), signals.deferred():
            if early:
                send(signal.SIGTERM)
            with signals.deferred(wait=False):
                send(signal.SIGTERM)
                os._exit(98)

    assert status_of(lambda: program(early=False)) == 143
    assert status_of(lambda: program(early=True)) == 143


def test_what_is_ignored_stays_ignored_and_handlers_come_back() -> None:
    def program() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        before = signal.getsignal(signal.SIGTERM)
        with signals.stop_on_signals():
            assert signal.getsignal(signal.SIGTERM) != before
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) == before

    assert status_of(program) == 0


def test_another_thread_sets_no_handlers() -> None:
    before, during = signal.getsignal(signal.SIGTERM), []

    def program() -> None:
        with signals.stop_on_signals():
            during.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=program)
    thread.start()
    thread.join()
    assert during == [before]


def test_an_error_on_the_way_of_a_signal_is_not_the_users(capfd: pytest.CaptureFixture[str]) -> None:
    """As a library has it whose clean-up meets what the signal left half done."""

    def program() -> None:
        with say_what_stopped(), exit_on_user_error():
            try:
                send(signal.SIGTERM)
            finally:
                raise ValueError("no such key")

    assert status_of(program) == 143
    assert capfd.readouterr().err == "stopped by SIGTERM\n"


def test_a_signal_while_workers_are_forked_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    """Python prints and drops what is raised in the hooks that libraries run around a fork."""

    def program() -> None:
        sys.unraisablehook = sys.__unraisablehook__  # pytest has its own
        os.register_at_fork(after_in_parent=lambda: send(signal.SIGTERM))
        with say_what_stopped():
            list(map_ordered(abs, [-1, -2], LocalExecutor(workers=2)))
            os._exit(98)

    assert status_of(program) == 143
    assert capfd.readouterr().err == "stopped by SIGTERM\n"


def test_a_worker_that_is_being_forked_leaves_a_signal_to_its_parent(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def program() -> None:
        sys.unraisablehook = sys.__unraisablehook__  # pytest has its own
        os.register_at_fork(after_in_child=lambda: send(signal.SIGTERM))
        with say_what_stopped():
            assert list(map_ordered(abs, [-1, -2], LocalExecutor(workers=2))) == [1, 2]

    assert status_of(program) == 0
    assert capfd.readouterr().err == ""


def test_once_everything_is_on_disk_nothing_interrupts() -> None:
    def program() -> None:
        with signals.stop_on_signals():
            signals.ignore_from_now_on()
            send(signal.SIGTERM)

    assert status_of(program) == 0


def test_a_library_that_waits_for_ever_does_not_keep_a_signal_back(capfd: pytest.CaptureFixture[str]) -> None:
    def program() -> None:
        with say_what_stopped(), signals.answered_in_libraries(lambda number: print_error(f"{number.name}!")):
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
            # The other process never comes; the system's own answers to signals wait for this call.
            torch.distributed.TCPStore("localhost", 0, 2, True, timedelta(seconds=60))
            os._exit(98)

    start = time.monotonic()
    assert status_of(program) == 143
    assert time.monotonic() - start < 10
    assert capfd.readouterr().err == "SIGTERM!\n"


def test_where_nothing_waits_a_signal_is_answered_as_ever(capfd: pytest.CaptureFixture[str]) -> None:
    def program() -> None:
        with say_what_stopped():
            with signals.answered_in_libraries(lambda number: os._exit(97)):
                time.sleep(0.01)
            with signals.answered_in_libraries(lambda number: os._exit(96)):
                send(signal.SIGINT)

    assert status_of(program) == 130
    assert capfd.readouterr().err == "stopped by SIGINT\n"
