"""What runs on another machine: connects to the program that waits for workers, and does its tasks until it ends.

python -m sceneleapultra.utils.clusters.worker <file with the program's address>
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import os
import pickle
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sceneleapultra.utils.clusters.channel import Address, connect
from sceneleapultra.utils.clusters.code_version import code_version
from sceneleapultra.utils.core.console import exit_on_user_error, say

_POLL_S = 1.0
_fn: Any = None  # the function of the session


def work(connection: Connection) -> int:
    """Do tasks until there is nobody to do them for; return how many."""
    done = 0
    connection.send((socket.gethostname(), code_version()))
    with ThreadPoolExecutor(1) as thread:
        while True:
            try:
                fn, task = connection.recv()
            except (EOFError, OSError):
                return done
            future = thread.submit(_answer, fn, task)
            while not wait([future], _POLL_S).done:
                if connection.poll():  # who gave the task says nothing until it is answered, but may end
                    os._exit(1)
            connection.send_bytes(_content(future))
            done += 1


def _answer(fn: bytes | None, task: bytes) -> bytes:
    global _fn
    if fn is not None:
        _fn = pickle.loads(fn)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)
    return pickle.dumps((True, _fn(pickle.loads(task))))


def _content(future: "Future[bytes]") -> bytes:
    """Return a result, or what was raised in its place, as it is sent."""
    if (error := future.exception()) is None:
        return future.result()
    sys.excepthook(type(error), error, error.__traceback__)
    return pickle.dumps((False, error))


def main() -> None:
    """Work for the program whose address is in the file that the command line names."""
    with exit_on_user_error():
        done = work(connect(Address.read(Path(sys.argv[1]))))
    say(f"The program has ended; {done} tasks were done here.")


if __name__ == "__main__":
    main()
