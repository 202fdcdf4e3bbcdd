"""Files of ``torch.save``: checkpoints, weights, batches. Written completely or not at all, and read undamaged or not.

Such a file is a zip archive that holds the CRC-32 of every record, of the tensors as of the rest. PyTorch writes these
sums and does not look at them when it reads; here they are checked at every reading, so that files of any version and
of other programs are checked as well.
"""

import pickle
import re
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

from sceneleapultra.utils.core.files import describe_file, write_atomically

_GLOBAL = re.compile(r"GLOBAL (\S+)")  # in PyTorch's message: what it was asked to build
_CHUNK = 1 << 24
_SETTLED_NS = 1_000_000_000  # file systems date changes to some milliseconds
_FOLDER = 0x10  # MS-DOS's mark of a folder among a record's attributes
# Files whose sums were right, as they were then: a resume reads one more than once.
_sound: dict[Path, tuple[int, ...]] = {}


def write_torch(path: Path, content: Any, *, keep: Path | None = None) -> None:
    """Write what ``torch.save`` takes, and its folder; see :func:`write_atomically`."""
    import torch  # here and below: programs that only name files do not wait for it

    def save(temporary: Path) -> None:
        # Into an open file: PyTorch's own writer says "file write failed" of a full disk, Python why; PyTorch then
        # raises a complaint of its own on top.
        with temporary.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save, keep=keep)


def read_torch(path: Path, device: str = "cpu", *, mapped: bool = False) -> Any:
    """Read a file of ``torch.save``: tensors in plain containers; nothing else is ever built.

    Args:
        path: the file.
        device: where tensors are put.
        mapped: leave tensors in the file until they are looked at.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read, or is damaged; says what it is.
    """
    import torch

    if (reason := damage_of(path)) is not None:
        raise ValueError(f"{path} cannot be read: {reason}. Copy or fetch it again.")
    try:
        return torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        raise ValueError(
            f"{path} holds more than tensors, numbers and strings in plain containers"
            f"{f' ({named[1]})' if named else ''}. It was not loaded."
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({_first_line(error)}). Was it changed?") from error


def damage_of(path: Path) -> str | None:
    """Say what is wrong with a file of ``torch.save``; None where all its sums are right.

    The sums of a file that did not change since this process found them right are not read again.

    Raises:
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    status = path.stat()
    now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if _sound.get(path) == now:
        return None
    reason = _damage_of(path)
    # One that is just being written may change again without a later date.
    if reason is None and time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
        _sound[path] = now
    return reason


def _damage_of(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith("data.pkl") for name in archive.namelist()):
                return f"it is {describe_file(path)} that PyTorch did not write"
            for record in archive.infolist():
                # PyTorch reads no bytes of what is marked as a folder, and hands out memory as it is.
                if record.external_attr & _FOLDER:
                    return f"it is damaged (record {record.filename} is marked as a folder)"
                with archive.open(record) as file:
                    while file.read(_CHUNK):
                        pass
    except zipfile.BadZipFile as error:
        if str(error).startswith("Bad CRC"):
            return f"it is damaged ({_first_line(error)})"
        return f"expected a file of PyTorch (1.6 or later), whole; it is {describe_file(path)}"
    except (EOFError, NotImplementedError, RuntimeError, ValueError, OSError, zlib.error) as error:
        return f"it is damaged ({_first_line(error)})"
    return None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
