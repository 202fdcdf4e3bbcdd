"""How stores come onto a local disk: copied once per machine, in one piece per column, checked by their hash."""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sceneleapultra.datasets.store.hdf5 import open_hdf5
from sceneleapultra.datasets.store.layout import repack
from sceneleapultra.datasets.store.shard import Shard
from sceneleapultra.utils.core.files import flush
from sceneleapultra.utils.core.locks import owned_lock

_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "gpfs", "beegfs", "9p", "fuse.")
_ROOM = 1.3  # free space wanted for a copy, in sizes of the original, which may be compressed
_log = logging.getLogger(__name__)


def stage_stores(shards: Sequence[Shard], folder: Path | None) -> list[Shard]:
    """Return local copies of stores; the stores themselves without a folder.

    Several processes may ask at once: one copies, the others wait and use its copy.

    Raises:
        ValueError: no room, no right to write there, or a copy that differs from its original.
    """
    if folder is None:
        for shard in shards:
            if (kind := file_system(shard.path)) is not None:
                _log.warning(
                    "data.store: %s lies on a network file system (%s). data.loading.staging=<local folder> copies it "
                    "once.",
                    shard.path,
                    kind,
                )
        return list(shards)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_stage(shard, folder) for shard in shards]
    except OSError as error:
        raise ValueError(
            f"data.loading.staging: {error.filename or folder}: {error.strerror}. Choose another folder, or pass "
            "data.loading.staging=null."
        ) from error


def file_system(path: Path) -> str | None:
    """Return the type of the network file system a file lies on; None where it is a local one."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.is_file():
        return None
    return network_type(path.resolve(), mounts.read_text())


def network_type(path: Path, mountinfo: str) -> str | None:
    """Find the mount of a path in the text of ``/proc/self/mountinfo``; see :func:`file_system`."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].replace("\\040", " "))
        if (point == path or point in path.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split()[0]
    return kind if kind.startswith(_NETWORK) else None


def _stage(shard: Shard, folder: Path) -> Shard:
    wanted = str(shard.attributes["content_hash"])
    copy = folder / f"{wanted[:16]}.h5"
    with owned_lock(copy.with_suffix(".lock"), doing=f"copying {shard.path}", wait=True):
        if copy.exists():
            try:
                return _check(copy, wanted)
            except ValueError as error:
                _log.warning("data.loading.staging: %s Copying it again.", error)
        _copy(shard, copy)
        _mark(copy).write_text(_state(copy, wanted))
        return Shard(copy)


def _check(copy: Path, wanted: str) -> Shard:
    """Open a copy, wherever it comes from; compute its hash, unless this user did and it has not changed since.

    Raises:
        ValueError: it is not the store wanted, or has no checksums.
    """
    shard, mark = Shard(copy), _mark(copy)
    if not shard.columns.has_checksums:
        raise ValueError(f"{copy} has no checksums.")
    if mark.is_file() and mark.stat().st_uid == os.geteuid() and mark.read_text() == _state(copy, wanted):
        return shard
    shard.verify()
    if (found := str(shard.attributes["content_hash"])) != wanted:
        raise ValueError(f"{copy} holds the store {found[:12]}, not {wanted[:12]}.")
    mark.write_text(_state(copy, wanted))
    return shard


def _mark(copy: Path) -> Path:
    """Return the file that says that this user checked a copy."""
    return copy.with_suffix(f".checked-{os.geteuid()}")


def _state(copy: Path, wanted: str) -> str:
    """Return what was checked. The times of a file can be set, but that sets its ctime, which cannot."""
    stat = copy.stat()
    return json.dumps([wanted, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])


def _copy(shard: Shard, copy: Path) -> None:
    folder, path = copy.parent, shard.path
    size, free = path.stat().st_size, shutil.disk_usage(folder).free
    if free < _ROOM * size:
        raise ValueError(
            f"data.loading.staging: {folder} has {free / 1e9:.1f} GB free, {path} needs {_ROOM * size / 1e9:.1f} GB. "
            "Make room, choose another folder, or pass data.loading.staging=null."
        )
    _log.info("data.loading.staging: copying %s to %s", path, copy)
    temporary = copy.with_suffix(".tmp")
    with open_hdf5(path) as source:
        repack(source, temporary, shard.attributes)
    try:
        Shard(temporary).verify()
    except ValueError as error:
        temporary.unlink()
        raise ValueError(
            f"data.loading.staging: the copy of {path} is not what that store says ({error}) Either the store is "
            "damaged (check it with scripts/store.py verify) or the disk is; try again."
        ) from error
    flush(temporary)
    temporary.replace(copy)
