"""How one process at a time does what two must not: a lock file that says who holds it.

The system lets go of the lock when its holder dies, however it dies; a file that is left behind locks nothing. The
lock is the process's own (POSIX): workers that outlive it by a moment do not hold it.
"""

import errno
import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_NO_LOCKS = (
    errno.ENOLCK,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EINVAL,
)  # what file systems without locks answer
_log = logging.getLogger(__name__)


@contextmanager
def owned_lock(path: Path, *, doing: str, wait: bool) -> Iterator[None]:
    """Hold a lock file; where the file system has no locks, say so and go on.

    Args:
        path: the file; its folder exists.
        doing: what the holder does, for the sentence others get.
        wait: whether to wait for another holder.

    Raises:
        BlockingIOError: another process holds it, and waiting was not wanted.
    """
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise BlockingIOError(f"{path} is held by {_owner(file.read())}.") from error
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning(
                "%s: this file system has no locks, so nothing keeps a second process from %s at the same time.",
                path,
                doing,
            )
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": platform.node(), "doing": doing, "since": time.time()}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextmanager
def owned_folder(folder: Path, *, doing: str, remedy: str) -> Iterator[None]:
    """Keep others out of a folder from before the first file is written to the end; it is made where it is missing.

    What a holder that was killed left half written in it is removed.

    Raises:
        ValueError: another process holds it; with the remedy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(owned_lock(folder / "lock", doing=doing, wait=False))
        except BlockingIOError as error:
            raise ValueError(f"{folder} is in use: {error} {remedy}.") from error
        for part in folder.glob(".*.tmp.*"):
            part.unlink(missing_ok=True)
        yield


def refuse_if_held(folder: Path, *, remedy: str) -> None:
    """Look whether another process holds a folder, without making or holding it.

    Raises:
        ValueError: one does; with the remedy.
    """
    if (folder / "lock").is_file():
        with owned_folder(folder, doing="looking", remedy=remedy):
            pass


def _owner(text: str) -> str:
    """Say who wrote a lock file, and when."""
    try:
        owner = json.loads(text)
        who, since = f"process {owner['pid']} on {owner['host']}", float(owner["since"])
        return f"{who} for {_duration(time.time() - since)}: {owner['doing']}"
    except (ValueError, KeyError, TypeError):  # it is just being written
        return "another process"


def _duration(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(0, int(seconds))} seconds"
