"""Programs that start programs of this project: one ends with the other, and in order."""

from sceneleapultra.utils.core.environment import ROOT

import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from sceneleapultra.utils.core.signals import Stopped

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run_program(verb: str, words: Sequence[str]) -> int:
    """Run ``sceneleap <verb> <words>`` in a process of its own, with this one's input and output.

    A signal that ends this program reaches the other first, which ends in order; where this one is killed, the other
    gets SIGTERM.

    Returns:
        its exit status.

    Raises:
        Stopped: a signal ended this program.
    """
    folders = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-m", "sceneleapultra", verb, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        preexec_fn=functools.partial(_end_with_parent, os.getpid()),
    )
    try:
        return process.wait()
    except Stopped as stop:
        process.send_signal(stop.signal)
        process.wait()
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _end_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before this was asked for
        os._exit(1)
