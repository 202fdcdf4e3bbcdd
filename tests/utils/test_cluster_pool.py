"""Do workers that connect over the network do each task, whichever of them is lost, and end with the program?"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from factories.cluster_tasks import append_line, exit_at, fail_at
from factories.programs import ROOT, alive
from sceneleapultra.utils.clusters import pool as pools
from sceneleapultra.utils.clusters.job import job_script
from sceneleapultra.utils.clusters.pool import WorkerPool
from sceneleapultra.utils.clusters.slurm import SlurmExecutor
from sceneleapultra.utils.core.parallel import Executor, map_ordered

PATIENCE_S = 120.0


class Pooled(Executor):
    """An executor whose workers the test starts."""

    in_flight = 6

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool

    def session(self, fn: Callable[[Any], Any]) -> AbstractContextManager[Any]:
        return self.pool.session(fn)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    monkeypatch.setattr(pools, "_POLL_S", 0.2)
    made = WorkerPool("localhost", lambda: None)
    yield made
    made.close()


@pytest.fixture
def start(pool: WorkerPool, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    address, started = tmp_path / "address.json", []
    pool.address.write(address)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}

    def begin() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sceneleapultra.utils.clusters.worker", str(address)]
        started.append(
            subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        return started[-1]

    yield begin
    for worker in started:
        worker.kill()
        worker.wait()


def test_a_lost_worker_costs_the_task_it_had(pool: WorkerPool, start, tmp_path: Path) -> None:
    log = tmp_path / "done.txt"
    log.touch()
    workers = [start(), start()]
    results = map_ordered(partial(append_line, str(log)), range(12), Pooled(pool))
    found = [next(results)]
    workers[0].kill()
    found += list(results)
    assert found == [2 * x for x in range(12)]
    assert len(log.read_text().split()) <= 13, "what was not in the lost worker's hands was not done again"


def test_workers_serve_one_session_after_another_and_end_with_the_program(pool: WorkerPool, start) -> None:
    worker = start()
    assert list(map_ordered(abs, [-1, -2], Pooled(pool))) == [1, 2]
    assert list(map_ordered(str, [3, 4], Pooled(pool))) == ["3", "4"]
    pool.close()
    assert worker.wait(PATIENCE_S) == 0


def test_what_a_task_raises_arrives(pool: WorkerPool, start) -> None:
    start()
    with pytest.raises(ValueError, match="three is refused") as caught:
        list(map_ordered(fail_at, range(9), Pooled(pool), describe=lambda x: f"scene {x}"))
    assert caught.value.__notes__ == ["while working on scene 3"]


def test_a_task_that_kills_its_workers_is_a_sentence(pool: WorkerPool, start) -> None:
    for _ in range(3):
        start()
    with pytest.raises(ChildProcessError, match="3 workers were lost with the same task"):
        list(map_ordered(exit_at, range(5), Pooled(pool)))


def test_no_worker_that_will_come_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_POLL_S", 0.05)
    made = WorkerPool("localhost", lambda: "SLURM job 7 has ended")
    with pytest.raises(ChildProcessError, match="SLURM job 7 has ended"):
        list(map_ordered(abs, [1], Pooled(made)))
    made.close()


def test_a_worker_of_another_version_is_refused(pool: WorkerPool) -> None:
    from sceneleapultra.utils.clusters.channel import connect

    with connect(pool.address) as connection:
        connection.send(("node7", "0123456789ab"))
        with pytest.raises(ValueError, match="A worker on node7 has another version of the project"):
            list(map_ordered(abs, [1], Pooled(pool)))


def test_who_does_not_know_the_secret_is_served_nothing(pool: WorkerPool, start) -> None:
    """Neither somebody else's pickle nor a silent connection is listened to, and neither keeps workers out."""
    silent = socket.create_connection(("localhost", pool.address.port))
    stranger = socket.create_connection(("localhost", pool.address.port))
    stranger.sendall(b"\0\0\0\x10" + pickle.dumps(print)[:16])
    start()
    assert list(map_ordered(abs, [-5], Pooled(pool))) == [5]
    stranger.settimeout(PATIENCE_S)
    while stranger.recv(4096):  # the challenge, and then the end
        pass
    silent.close()
    stranger.close()


def test_the_secret_is_the_users_own(pool: WorkerPool, tmp_path: Path) -> None:
    pool.address.write(tmp_path / "address.json")
    assert (tmp_path / "address.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_worker_at_work_ends_with_its_program(pool: WorkerPool, start, tmp_path: Path) -> None:
    """The program is another process, killed while a task sleeps."""
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from sceneleapultra.utils.clusters.pool import WorkerPool\n"
        "pool = WorkerPool('localhost', lambda: None)\npool.address.write(Path(sys.argv[1]))\n"
        "with pool.session(time.sleep) as submit:\n    submit(600.0)()\n"
    )
    address = tmp_path / "other.json"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", program, str(address)], env=environ)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not address.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        command = [sys.executable, "-m", "sceneleapultra.utils.clusters.worker", str(address)]
        worker = subprocess.Popen(command, env=environ)
        time.sleep(3.0)
        assert alive(worker.pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        worker.wait(30.0)
    finally:
        parent.kill()
        parent.wait()


def slurm(**changes: object) -> SlurmExecutor:
    settings = {"workers": 2, "options": {}, "setup": [], "folder": "jobs", "host": None, "dry_run": True}
    return SlurmExecutor(**{**settings, **changes})  # type: ignore[arg-type]


def test_the_script_of_an_array_is_what_was_asked_for() -> None:
    script = slurm(workers=64, options={"partition": "cpu", "qos": None}, setup=["module load x"]).script()
    lines = script.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    for line in (
        "--array=0-63",
        "--requeue",
        "--signal=B:USR1@60",
        "--partition=cpu",
        "--job-name=sceneleap",
    ):
        assert f"#SBATCH {line}" in lines
    assert "module load x" in lines and "qos" not in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_the_script_of_one_job_quotes_its_words() -> None:
    script = job_script({"nodes": 2}, [], ["-m", "x", "a=[1, 2]"], array=None)
    assert "srun" in script and "'a=[1, 2]'" in script and "#SBATCH --signal=USR1@120" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_wrong_settings_of_slurm_are_sentences() -> None:
    with pytest.raises(
        ValueError, match="workers=auto: expected the number of workers that SLURM is asked for"
    ):
        slurm(workers="auto")
    with pytest.raises(ValueError, match=r"launcher\.options\.array is decided by the program"):
        slurm(options={"array": "0-3"}).script()
    with pytest.raises(ValueError, match=r"launcher\.options\.comment: expected one line"):
        slurm(options={"comment": "a\n#SBATCH --uid=0"}).script()


def test_no_slurm_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="launcher=slurm: there is no sbatch on this machine"):
        list(map_ordered(abs, [1], slurm(dry_run=False, folder=str(tmp_path))))
