"""Are the cores counted that this process may use, not those of the machine?"""

import os
from pathlib import Path

import pytest

from sceneleapultra.utils.core.resources import (
    cgroup_free_memory,
    cgroup_quota,
    free_main_memory,
    usable_cpus,
    workers_per_process,
)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_quota_of_a_container(tmp_path: Path) -> None:
    write(tmp_path, cpu__max="250000 100000\n")
    assert cgroup_quota("0::/\n", tmp_path) == 2.5


def test_the_tightest_of_all_parents_binds(tmp_path: Path) -> None:
    write(tmp_path / "slurm" / "job", cpu__max="max 100000\n")
    write(tmp_path / "slurm", cpu__max="300000 100000\n")
    write(tmp_path / "other", cpu__max="100000 100000\n")
    assert cgroup_quota("0::/slurm/job\n", tmp_path) == 3.0


def test_version_one(tmp_path: Path) -> None:
    write(tmp_path / "cpu,cpuacct" / "box", cpu__cfs_quota_us="150000\n", cpu__cfs_period_us="100000\n")
    write(tmp_path / "cpu,cpuacct", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert cgroup_quota("4:cpu,cpuacct:/box\n3:memory:/box\n", tmp_path) == 1.5


def test_no_limit(tmp_path: Path) -> None:
    write(tmp_path, cpu__max="max 100000\n")
    assert cgroup_quota("0::/\n", tmp_path) is None
    assert cgroup_quota("", tmp_path / "nothing") is None


def test_memory_of_a_container(tmp_path: Path) -> None:
    """What a job holds counts against its limit, pages of files that can be dropped do not."""
    stat = "anon 100\ninactive_file 300\n"
    write(tmp_path / "job", memory__max="max\n", memory__current="700\n", memory__stat=stat)
    write(tmp_path, memory__max="1000\n", memory__current="800\n", memory__stat=stat)
    assert cgroup_free_memory("0::/job\n", tmp_path) == 500
    write(tmp_path / "job", memory__max="600\n")
    assert cgroup_free_memory("0::/job\n", tmp_path) == 200
    write(tmp_path / "job", memory__max="300\n")
    assert cgroup_free_memory("0::/job\n", tmp_path) == 0
    assert cgroup_free_memory("", tmp_path / "nothing") is None


def test_memory_of_version_one(tmp_path: Path) -> None:
    files = {"memory__limit_in_bytes": "900\n", "memory__usage_in_bytes": "500\n"}
    write(tmp_path / "memory" / "box", **files, memory__stat="total_inactive_file 50\n")
    assert cgroup_free_memory("4:memory:/box\n", tmp_path) == 450


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="this system does not say its memory")
def test_there_is_memory_here() -> None:
    free = free_main_memory()
    assert free is not None and 1 << 24 < free < 1 << 46


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_bounds_the_cores() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cpus() == 1
        assert workers_per_process("auto", 1) == 0
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= usable_cpus() <= len(allowed)


def test_processes_share_the_cores() -> None:
    cores = usable_cpus()
    assert workers_per_process("auto", 1) == min(8, cores - 1)
    assert workers_per_process("auto", cores) == 0
    assert workers_per_process(5, 4) == 5


@pytest.mark.parametrize("wanted", [-1, "all"])
def test_other_numbers_are_refused(wanted: int | str) -> None:
    with pytest.raises(ValueError, match=r"data\.loading\.workers must be 'auto' or a number from 0, got"):
        workers_per_process(wanted, 1)
