"""The launcher of PyTorch itself, torchrun, is killed: no process is left, and the same command continues."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from factories.programs import PATIENCE_S, ROOT, in_session
from factories.training import TINY, assert_same, state

pytestmark = [
    pytest.mark.faults,
    pytest.mark.ddp,
    pytest.mark.skipif(not os.path.exists("/proc"), reason="counts in /proc"),
]
STEPS = 12


def begin(words: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-id=faults"]
    command += [
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",
        str(ROOT / "train_lightning.py"),
        *words,
    ]
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "SCENELEAPULTRA_"))}
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environ, stdout=output, stderr=output, start_new_session=True
        )


@pytest.fixture
def words(tiny_data: list[str]) -> list[str]:
    own = [f"trainer.max_steps={STEPS}", "callbacks.last.every_n_steps=2", "data.batch_size=2", "run_dir=run"]
    return [*tiny_data, *TINY, *own]


def test_an_agent_that_is_killed_takes_its_ranks_along(words: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    for signum, after in ((signal.SIGTERM, 3), (signal.SIGKILL, 7)):
        agent = begin(words, tmp_path, log)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not (log.exists() and f"step {after}/{STEPS}" in log.read_text(errors="replace")):
                assert agent.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.005)
            os.kill(agent.pid, signum)
            agent.wait(PATIENCE_S)
            deadline = time.monotonic() + 10.0
            while (left := in_session(agent.pid)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not left, f"{left} are left 10 s after {signum.name}"
        finally:
            for pid in in_session(agent.pid):
                os.kill(pid, signal.SIGKILL)
        assert agent.returncode != 0
        if signum == signal.SIGTERM:
            said = re.search(
                r"^stopped by SIGTERM at step (\d+) of 12; the same command", log.read_text(), re.M
            )
            assert said and state(tmp_path / "run")["/step"] == int(said[1])
    agent = begin(words, tmp_path, log)
    assert agent.wait(PATIENCE_S) == 0, log.read_text()[-3000:]
    assert not in_session(agent.pid)
    whole = begin([*words[:-1], "run_dir=whole"], tmp_path, tmp_path / "whole.txt")
    assert whole.wait(PATIENCE_S) == 0
    for name in ("last.ckpt", "best.ckpt"):
        assert_same(state(tmp_path / "whole", name), state(tmp_path / "run", name))
