"""How much of this machine the program may use."""

import os
from pathlib import Path

GIB = 1 << 30
_SPARED = 0.07  # of the memory that a GPU is sold with, what it may keep for itself
_CGROUPS = Path("/sys/fs/cgroup")
_MEMORY_FILES = (  # version 2, 1: the limit, what is used, what of it the system drops before it refuses more
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_MOST_WORKERS = 8  # an item takes a millisecond: more processes only use memory


def usable_cpus() -> int:
    """Return the cores this process may run on: affinity, bounded by the quotas of its control groups."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(_own_groups(), _CGROUPS)
    return cores if quota is None else max(1, min(cores, int(quota)))


def cgroup_quota(own_groups: str, root: Path) -> float | None:
    """Return how many cores the control groups (version 1 or 2) of a process grant; None without a limit.

    Args:
        own_groups: text of ``/proc/self/cgroup``.
        root: where the control groups are mounted.
    """
    folders = _folders(own_groups, root)
    return min((quota for folder in folders if (quota := _quota(folder)) is not None), default=None)


def cgroup_free_memory(own_groups: str, root: Path) -> int | None:
    """Return how many bytes the control groups of a process still grant; None without a limit.

    What their files keep in the page cache counts as free.

    Args:
        own_groups: text of ``/proc/self/cgroup``.
        root: where the control groups are mounted.
    """
    folders = _folders(own_groups, root)
    return min((free for folder in folders if (free := _free(folder)) is not None), default=None)


def workers_per_process(wanted: int | str, local_processes: int) -> int:
    """Return data-loading workers for each of the machine's training processes; ``auto`` leaves one core to training.

    Raises:
        ValueError: neither a number nor ``auto``.
    """
    if wanted == "auto":
        return min(_MOST_WORKERS, max(0, usable_cpus() // max(1, local_processes) - 1))
    if isinstance(wanted, int) and wanted >= 0:
        return wanted
    raise ValueError(f"data.loading.workers must be 'auto' or a number from 0, got {wanted!r}.")


def free_main_memory() -> int | None:
    """Return the bytes of main memory that can be had without swapping; None where Linux does not say it.

    No more than the control groups of this process grant, as a container's or a job's.
    """
    file = Path("/proc/meminfo")
    if not file.is_file():
        return None
    rows = dict(line.split(":") for line in file.read_text().splitlines())
    free = 1024 * int(rows["MemAvailable"].split()[0])
    granted = cgroup_free_memory(_own_groups(), _CGROUPS)
    return free if granted is None else min(free, granted)


def holds(there: int, gpu_gib: float) -> bool:
    """Say whether so many bytes are those of a GPU that is sold with ``gpu_gib``."""
    return there >= (1 - _SPARED) * gpu_gib * GIB


def _own_groups() -> str:
    own = Path("/proc/self/cgroup")
    return own.read_text() if own.is_file() else ""


def _folders(own_groups: str, root: Path) -> set[Path]:
    """Return where the limits of a process stand: those of its groups and of all their parents bind."""
    # In a container the root is the process's own group; outside, it is the path below it.
    folders = {root, *(root / controller for controller in ("cpu", "cpu,cpuacct", "memory"))}
    for line in own_groups.splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / controllers if controllers else root
        relative = Path(path.lstrip("/"))
        folders |= {mount / part for part in (relative, *relative.parents)}
    return folders


def _quota(folder: Path) -> float | None:
    if (both := folder / "cpu.max").is_file():  # version 2
        quota, period = both.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    if (limit := folder / "cpu.cfs_quota_us").is_file():  # version 1
        quota_us = int(limit.read_text())
        return None if quota_us <= 0 else quota_us / int((folder / "cpu.cfs_period_us").read_text())
    return None


def _free(folder: Path) -> int | None:
    for limit, used, cached in _MEMORY_FILES:
        if (folder / limit).is_file() and (folder / used).is_file():
            granted = (folder / limit).read_text().strip()
            if granted == "max":
                return None
            rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            held = int((folder / used).read_text()) - int(rows[cached])
            return max(0, int(granted) - held)
    return None


def require_accelerator(name: str) -> None:
    """Refuse a GPU that is not there.

    Raises:
        ValueError: torch sees none.
    """
    import torch  # here, because composing a configuration must not cost its import

    if name in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"trainer.accelerator={name}: torch {torch.__version__} sees no CUDA device here. Pass hardware=cpu or "
            "hardware=auto, or install the CUDA build of torch."
        )
