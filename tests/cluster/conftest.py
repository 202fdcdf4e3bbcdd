"""Real clusters on this machine: a SLURM of two nodes, and a Ray of two nodes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from factories.programs import ROOT, alive
from factories.ranks import free_port

PATIENCE_S = 400.0  # for what should happen in seconds, on a machine that does much else
_ENVIRON = {
    k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "SCENELEAPULTRA_", "SLURM_", "RAY_"))
}
ENVIRON = _ENVIRON | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} does not come"
        time.sleep(0.02)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def processes(words: str) -> list[int]:
    """Return the processes whose command holds these words."""
    return [
        int(p) for p in os.listdir("/proc") if p.isdigit() and words in command_of(int(p)) and alive(int(p))
    ]


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@dataclass
class Started:
    """A program of this project, and what it prints."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a moment in the life of the program."""
        until(lambda: condition() or self.process.poll() is not None, what)
        assert self.process.poll() is None, f"the program has ended before: {what}\n{self.said()[-3000:]}"

    def finish(self, status: int = 0) -> str:
        assert self.process.wait(PATIENCE_S) == status, self.said()[-3000:]
        return self.said()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start a program, which ends with the test."""
    started: list[Started] = []

    def begin(program: str, *words: str, **environ: str) -> Started:
        log = tmp_path / f"program{len(started)}.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / program), *words],
                cwd=tmp_path,
                env=ENVIRON | environ,
                stdout=output,
                stderr=output,
            )
        started.append(Started(process, log))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait()


class Slurm:
    """A SLURM that runs."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"SLURM_CONF": str(folder / "slurm.conf")}

    def __call__(self, *command: str) -> str:
        done = subprocess.run(command, env=ENVIRON | self.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def jobs(self) -> list[str]:
        return self("squeue", "-h", "-r", "-o", "%i %T").splitlines()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if missing := [
        name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None
    ]:
        pytest.skip(f"{missing[0]} is not installed: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("only root starts nodes of SLURM")
    folder = tmp_path_factory.mktemp("slurm")
    command = ["bash", str(Path(__file__).with_name("slurm.sh")), str(folder)]
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(
            command, env=ENVIRON, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        ready = process.stdout.readline()
        assert ready == "ready\n", (folder / "errors.txt").read_text()[-2000:]
        yield Slurm(folder)
        process.stdin.close()
        process.wait(60)


@dataclass
class RayNodes:
    """A Ray cluster of two nodes, each with one processor."""

    address: str
    nodes: list[subprocess.Popen[bytes]]

    def workers(self) -> list[int]:
        """Return the processes in which a task is at work."""
        own = {node.pid for node in self.nodes}
        return [pid for pid in processes("ray::_work") if own & set(_ancestors(pid))]


def _ancestors(pid: int) -> Iterator[int]:
    while (pid := parent_of(pid)) > 1:
        yield pid


def _start_node(words: list[str]) -> subprocess.Popen[bytes]:
    """Start a node, in a session of its own, that runs until it is ended."""
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "start", "--block", "--num-cpus=1", "--object-store-memory=100000000", *words]
    return subprocess.Popen(
        command,
        env=ENVIRON | {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture
def ray_nodes() -> Iterator[RayNodes]:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: the extra ray")
    port = free_port()
    # Sockets have short names only.
    temporary = Path("/tmp") / f"ray-test-{os.getpid()}"
    head = _start_node(["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={temporary}"])
    nodes = [head]

    def answers() -> bool:
        assert head.poll() is None, "the head of the Ray cluster has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(answers, "the head of the Ray cluster")
        time.sleep(1.0)
        nodes.append(_start_node([f"--address=127.0.0.1:{port}"]))
        yield RayNodes(f"127.0.0.1:{port}", nodes)
    finally:
        for node in reversed(nodes):
            node.send_signal(signal.SIGTERM)
        for node in nodes:
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        shutil.rmtree(temporary, ignore_errors=True)
