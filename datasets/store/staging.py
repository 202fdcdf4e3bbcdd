"""How stores come onto a local disk: copied once per machine, in one piece per column, checked by their hash."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py

from sceneleapultra.datasets.store.layout import repack
from sceneleapultra.datasets.store.schema import content_hash
from sceneleapultra.utils.core.files import flush
from sceneleapultra.utils.core.locks import owned_lock

_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "gpfs", "beegfs", "9p", "fuse.")
_ROOM = 1.3  # free space wanted for a copy, in sizes of the original, which may be compressed
_log = logging.getLogger(__name__)


def stage_stores(paths: Sequence[Path], folder: Path | None) -> list[Path]:
    """Return local copies of stores; the stores themselves without a folder.

    Several processes may ask at once: one copies, the others wait and use its copy.

    Raises:
        ValueError: no room, or a copy that differs from its original.
    """
    if folder is None:
        for path in paths:
            if (kind := file_system(path)) is not None:
                _log.warning(
                    "data.store: %s lies on a network file system (%s). data.loading.staging=<local folder> copies it "
                    "once.",
                    path,
                    kind,
                )
        return list(paths)
    folder.mkdir(parents=True, exist_ok=True)
    return [_copy(path, folder) for path in paths]


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


def _copy(path: Path, folder: Path) -> Path:
    with h5py.File(path) as source:
        wanted = str(source.attrs["content_hash"])
        copy = folder / f"{wanted[:16]}.h5"
        with owned_lock(copy.with_suffix(".lock"), doing=f"copying {path}", wait=True):
            if copy.is_file():
                return copy
            size, free = path.stat().st_size, shutil.disk_usage(folder).free
            if free < _ROOM * size:
                raise ValueError(
                    f"data.loading.staging: {folder} has {free / 1e9:.1f} GB free, {path} needs "
                    f"{_ROOM * size / 1e9:.1f} GB. Make room, choose another folder, or pass data.loading.staging=null."
                )
            _log.info("data.loading.staging: copying %s to %s", path, copy)
            temporary = copy.with_suffix(".tmp")
            repack(source, temporary)
            with h5py.File(temporary) as made:
                found = content_hash(made, dict(made.attrs))
            if found != wanted:
                temporary.unlink()
                raise ValueError(
                    f"data.loading.staging: the copy of {path} has content hash {found[:12]}, the store says "
                    f"{wanted[:12]}. Either the store is damaged (check it with scripts/store.py verify) or the disk "
                    "is; try again."
                )
            flush(temporary)
            temporary.replace(copy)
            return copy
