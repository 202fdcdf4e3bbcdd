"""Programs that start programs of this project: one ends with the other, and in order."""

from sceneleapultra.utils.core.environment import ROOT

import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from sceneleapultra.utils.core.signals import Stopped

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_program(verb: str, words: Sequence[str], output: IO[str] | None = None) -> subprocess.Popen[bytes]:
    """Start ``sceneleap <verb> <words>`` in a process of its own; where this one is killed, it gets SIGTERM.

    Args:
        verb: the program.
        words: its arguments.
        output: where what it prints goes; None for this process's own output.
    """
    folders = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "sceneleapultra", verb, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        preexec_fn=functools.partial(_end_with_parent, os.getpid()),
    )


def run_program(verb: str, words: Sequence[str]) -> int:
    """Run ``sceneleap <verb> <words>`` in a process of its own, with this one's input and output.

    A signal that ends this program reaches the other first, which ends in order; where this one is killed, the other
    gets SIGTERM.

    Returns:
        its exit status.

    Raises:
        Stopped: a signal ended this program.
    """
    process = start_program(verb, words)
    with ended_with_this([process]):
        return process.wait()


@contextmanager
def ended_with_this(processes: Collection[subprocess.Popen[bytes]]) -> Iterator[None]:
    """End the processes that still run when the block ends, by the signal that ended it if there was one."""
    number = signal.SIGTERM
    try:
        yield
    except Stopped as stop:
        number = stop.signal
        raise
    finally:
        running = [process for process in processes if process.poll() is None]
        for process in running:
            process.send_signal(number)
        for process in running:
            process.wait()


def _end_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before this was asked for
        os._exit(1)
