"""Which exceptions a user can mend, and the sentence that answers each; any other is a defect and keeps its trace."""

import errno
import os
import re
import resource
import shutil
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_SHARED_MEMORY = re.compile(r"shared memory|/torch_\d+|killed by signal: Bus error")
# The kinds among which a user's mistakes are.
MENDABLE = (OSError, ValueError, OmegaConfBaseException, MemoryError, RuntimeError)
# What the system says of a path, by its error number.
_OF_A_PATH = {
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of this path is a file where a folder is needed. Choose another path",
    errno.EEXIST: "something is there already where a folder or a new file is needed. Choose another path",
    errno.EISDIR: "this is a folder where a file is needed",
    errno.EACCES: "this user may not read or write it. Change its permissions, or choose another path",
    errno.EPERM: "the system does not allow it. Choose another path",
    errno.EROFS: "it lies on a file system that is mounted read-only. Choose another path",
    errno.ENAMETOOLONG: "a name in this path is longer than its file system allows",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FILES = (errno.EMFILE, errno.ENFILE)


def answer(error: BaseException) -> str | None:
    """Return the sentence for what a user can mend: wrong values, files, places, limits of the machine; else None."""
    text = _own_words(error)
    if isinstance(error, OSError):
        return _of_the_system(error, text)
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key or 'configuration'}: {text.splitlines()[0].rstrip('.')}."
    if isinstance(error, ValueError):
        return text
    if isinstance(error, MemoryError):
        return f"Not enough memory{f': {text}' if text else ''}. Ask for less at a time, or take a larger machine."
    if isinstance(error, RuntimeError):
        return _of_torch(error, text)
    return None


def _own_words(error: BaseException) -> str:
    """Return the message of an error; one from a data loader's process without the stack trace put around it."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    return text.rpartition(f"\n{type(error).__name__}: ")[2].strip()


def _of_the_system(error: OSError, text: str) -> str:
    number = error.errno
    if number is None and (found := _ERRNO.search(text)):  # it came as text from another process
        number = int(found[1])
    if number in _FILES:
        return _too_many_files()
    if number in _FULL:
        return _disk_is_full(error.filename)
    if error.filename is None or number is None:
        return text
    what = _OF_A_PATH.get(number, str(error.strerror).lower())
    paths = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{paths}: {what}."


def _disk_is_full(name: object) -> str:
    if not isinstance(name, str | os.PathLike):
        return "No space is left on a disk that is written to. Make room, and repeat the same command."
    folder = next(p for p in Path(name).absolute().parents if p.is_dir())
    free = shutil.disk_usage(folder).free
    return (
        f"{os.fspath(name)}: no space is left on its disk ({free / 2**20:.0f} MB free, or a quota). Make room, and "
        "repeat the same command."
    )


def _too_many_files() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"Too many open files: a process may open {soft} here. Raise the limit before the command: ulimit -n "
        f"{hard if soft < hard else 65536}"
    )


def _of_torch(error: RuntimeError, text: str) -> str | None:
    if "Too many open files" in text:
        return _too_many_files()
    if _SHARED_MEMORY.search(text):
        size = shutil.disk_usage("/dev/shm").total / 2**20 if Path("/dev/shm").is_dir() else 0
        return (
            f"The loading processes hand over batches through /dev/shm, which is too small ({size:.3g} MB). Raise it "
            "(docker run --shm-size=8g), or pass data.loading.workers=0."
        )
    if type(error).__name__ == "OutOfMemoryError":
        return f"{text.partition(' Of the allocated')[0]} Pass a smaller data.batch_size or samples_per_item."
    if "address already in use" in text or "EADDRINUSE" in text:
        return (
            "The port by which the processes meet is in use: another training runs here. Pass another to torchrun "
            "(--master-port), or set MASTER_PORT."
        )
    return None
