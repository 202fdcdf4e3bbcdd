"""Starts programs as processes of their own without the seconds that their imports take.

Reads a line of JSON per start from stdin, ``{"program", "words", "folder", "log", "environ", "processes"}``, and
answers with the process; ``{"wait", "seconds"}`` is answered with the exit status, or null where it still runs. A
program gets a session of its own, real signals, and the handlers of a fresh Python.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from typing import Any

import mujoco  # noqa: F401
import pytorch_lightning  # noqa: F401
import torch  # noqa: F401
from ranks import free_port, rank_environ  # type: ignore[import-not-found]

import sceneleapultra.datasets.foreign.readers
import sceneleapultra.evaluation.callback
import sceneleapultra.evaluation.self_training
import sceneleapultra.evaluation.suite
import sceneleapultra.models.module
import sceneleapultra.simulation.generate
import sceneleapultra.test_lightning
import sceneleapultra.train_lightning
import sceneleapultra.utils.training.stop  # noqa: F401


def reset_signals() -> None:
    """Give signals the handlers of a fresh Python."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def become(order: dict[str, Any], environ: dict[str, str]) -> None:
    """Turn this process into the program."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    name = order["program"].replace("/", ".")
    sys.argv = [os.path.join(root, f"{order['program']}.py"), *order["words"]]
    os.environ.update(environ)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(order["folder"])
    reset_signals()
    status = 1
    try:
        importlib.import_module(f"sceneleapultra.{name}").main()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - what Python itself would print
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start(order: dict[str, Any]) -> int:
    """Fork a program, or what launches several processes of it as torchrun's agent does."""
    if (pid := os.fork()) != 0:
        return pid
    os.setsid()
    environ = dict(order["environ"])
    if order["processes"] == 1:
        become(order, environ)
    port, ranks = free_port(), []
    for rank in range(order["processes"]):
        if (pid := os.fork()) == 0:
            become(order, environ | rank_environ(rank, order["processes"], port))
        ranks.append(pid)
    failed = 0
    for _ in ranks:
        status = os.waitstatus_to_exitcode(os.wait()[1])
        failed = failed or status
        if status:
            for pid in ranks:
                with contextlib.suppress(ProcessLookupError):  # it has ended
                    os.kill(pid, signal.SIGTERM)
    os._exit(failed & 0xFF)


def wait(pid: int, seconds: float) -> int | None:
    """Return the exit status, negative where a signal killed it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def serve() -> None:
    """Answer until stdin ends."""
    sys.stdout.write(json.dumps("ready") + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        order = json.loads(line)
        answer = wait(order["wait"], order["seconds"]) if "wait" in order else start(order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
