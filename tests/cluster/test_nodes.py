"""Is a training on two nodes, each with a network of its own, that of one machine; and what if one of them dies?"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.conftest import ENVIRON, PATIENCE_S, Slurm, until
from factories.programs import ROOT, in_session
from factories.training import TINY, assert_same, state

pytestmark = pytest.mark.cluster
STEPS = 12
ADDRESS = "10.213.77"


@pytest.fixture(scope="module")
def networks() -> Iterator[list[str]]:
    """Two network namespaces, joined by a cable."""
    names = [f"slu{os.getpid()}-{number}" for number in (0, 1)]
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need ip and root")
    if subprocess.run(["ip", "netns", "add", names[0]], capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    ends = [f"slu{number}" for number in (0, 1)]
    try:
        commands = [f"ip netns add {names[1]}"]
        commands += [f"ip -n {names[0]} link add {ends[0]} type veth peer name {ends[1]} netns {names[1]}"]
        for number, (name, end) in enumerate(zip(names, ends, strict=True)):
            commands += [f"ip -n {name} addr add {ADDRESS}.{number + 1}/24 dev {end}"]
            commands += [f"ip -n {name} link set {end} up", f"ip -n {name} link set lo up"]
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Node:
    """A node of a training, as torchrun starts it."""

    def __init__(self, number: int, network: str, words: list[str], folder: Path) -> None:
        self.log = folder / f"node{number}.txt"
        command = [
            "ip",
            "netns",
            "exec",
            network,
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nnodes=2",
        ]
        command += ["--nproc-per-node=1", f"--node-rank={number}", "--rdzv-id=nodes", "--master-port=29511"]
        command += [
            f"--master-addr={ADDRESS}.1",
            str(ROOT / "train_lightning.py"),
            *words,
            "hardware.num_nodes=2",
        ]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=ENVIRON | {"GLOO_SOCKET_IFNAME": f"slu{number}"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        for pid in in_session(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def words(tiny_data: list[str]) -> list[str]:
    own = [f"trainer.max_steps={STEPS}", "callbacks.last.every_n_steps=2", "data.batch_size=2"]
    return [*tiny_data, *TINY, *own]


@pytest.fixture
def whole(words: list[str], tmp_path: Path) -> Path:
    """The folder of a training by two processes of one machine."""
    command = [
        sys.executable,
        str(ROOT / "train_lightning.py"),
        *words,
        "hardware.devices=2",
        "run_dir=whole",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRON, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tmp_path / "whole"


@pytest.mark.parametrize("victim", [0, 1])
def test_two_nodes_are_one_machine_and_a_dead_one_is_missed(
    networks: list[str], words: list[str], whole: Path, tmp_path: Path, victim: int
) -> None:
    words = [*words, "run_dir=run"]
    nodes = [Node(number, networks[number], words, tmp_path) for number in (0, 1)]
    try:
        until(lambda: f"step 5/{STEPS}" in nodes[0].said() or nodes[0].process.poll() is not None, "step 5")
        nodes[victim].kill()
        killed, other = time.monotonic(), nodes[1 - victim]
        until(lambda: f"Rank {victim} " in other.said(), "the sentence", 30.0)
        assert time.monotonic() - killed < 15.0
        assert other.process.wait(PATIENCE_S) != 0
        assert "is gone at step" in other.said() and "the same command continues" in other.said()
        nodes = [Node(number, networks[number], words, tmp_path) for number in (0, 1)]
        assert [node.process.wait(PATIENCE_S) for node in nodes] == [0, 0], nodes[0].said()[-3000:]
    finally:
        for node in nodes:
            node.kill()
    for name in ("last.ckpt", "best.ckpt"):
        assert_same(state(whole, name), state(tmp_path / "run", name))


def test_a_training_on_slurm_that_is_asked_to_make_room(
    slurm: Slurm, words: list[str], whole: Path, tmp_path: Path
) -> None:
    """On two nodes; it goes back into the queue, and goes on bit for bit. Nodes have no names here: MASTER_ADDR."""
    command = [sys.executable, str(ROOT / "train_lightning.py"), *words, "run_dir=run", "launcher=slurm"]
    command += ["launcher.options.nodes=2", 'launcher.setup=["export MASTER_ADDR=127.0.0.1"]']

    def submit() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=ENVIRON | slurm.environ, capture_output=True, text=True
        )

    def said() -> str:
        return "".join(path.read_text() for path in (tmp_path / "run").glob("slurm-*.txt"))

    done = submit()
    assert done.returncode == 0, done.stderr
    job = (tmp_path / "run" / "slurm_job.txt").read_text().strip()
    assert f"submitted as job {job} of SLURM" in done.stdout
    again = submit()
    assert again.returncode == 1 and f"in SLURM's queue already, as job {job}" in again.stderr
    until(lambda: f"step 4/{STEPS}" in said() or not slurm.jobs(), "step 4")
    slurm("scancel", "--signal=USR1", job)
    until(lambda: "stopped by SIGUSR1 at step" in said(), "the stop")
    until(lambda: not slurm.jobs(), "the end of the job")
    assert "continues from step" in said(), said()[-3000:]
    for name in ("last.ckpt", "best.ckpt"):
        assert_same(state(whole, name), state(tmp_path / "run", name))
