"""How much of this machine the program may use."""

import os
from pathlib import Path


def usable_cpus() -> int:
    """Return the cores this process may run on: affinity, bounded by the control group's quota."""
    cores = len(os.sched_getaffinity(0))
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.is_file():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def workers_per_process(wanted: int | str, local_processes: int) -> int:
    """Return data-loading workers for each of the machine's training processes; ``auto`` leaves one core to training.

    Raises:
        ValueError: neither a number nor ``auto``.
    """
    if wanted == "auto":
        return min(8, max(0, usable_cpus() // max(1, local_processes) - 1))
    if isinstance(wanted, int) and wanted >= 0:
        return wanted
    raise ValueError(f"data.num_workers must be 'auto' or a number from 0, got {wanted!r}.")
