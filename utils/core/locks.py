"""How one process at a time does what two must not: a lock file that says who holds it.

The system lets go of the lock when its holder dies, however it dies; a file that is left behind locks nothing.
"""

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def owned_lock(path: Path, *, doing: str, wait: bool) -> Iterator[None]:
    """Hold a lock file.

    Args:
        path: the file; its folder exists.
        doing: what the holder does, for the sentence others get.
        wait: whether to wait for another holder.

    Raises:
        BlockingIOError: another process holds it, and waiting was not wanted.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            owner = json.loads(file.read() or "{}")
            who = f"process {owner['pid']} on {owner['host']}" if owner else "another process"
            raise BlockingIOError(
                f"{path} is held by {who}: {owner.get('doing', 'at work')}. Wait until it is done, or stop it."
            ) from error
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": platform.node(), "doing": doing, "since": time.time()}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
