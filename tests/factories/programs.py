"""Programs that are killed: started warm, watched from outside, and counted when they should be gone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0  # for what should happen in seconds, on a machine that does much else


@dataclass
class Server:
    """The process that starts programs."""

    process: subprocess.Popen[str]

    @classmethod
    def begin(cls) -> "Server":
        command = [sys.executable, str(Path(__file__).with_name("fork_server.py"))]
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "SCENELEAPULTRA_"))}
        environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        server = cls(process)
        assert server._read() == "ready"
        return server

    def ask(self, order: dict[str, object]) -> object:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> object:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the fork server died"
        return json.loads(line)

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()  # its own end would take seconds
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@dataclass
class Program:
    """A program at work, in a session of its own."""

    server: Server
    pid: int
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def status(self, seconds: float = PATIENCE_S) -> int | None:
        found = self.server.ask({"wait": self.pid, "seconds": seconds})
        assert found is None or isinstance(found, int)
        return found

    def finish(self) -> str:
        """Wait for an end without an error; return what was printed."""
        status = self.status()
        assert status == 0, f"status {status}\n{self.said()[-3000:]}"
        self.assert_alone()
        return self.said()

    def until(self, condition: Callable[[], object]) -> bool:
        """Look as often as possible whether a moment has come; return whether it came before the program's end."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if not alive(self.pid):
                return False
            assert time.monotonic() < deadline, f"the moment does not come\n{self.said()[-3000:]}"
            time.sleep(0.001)
        return True

    def stop(self, signum: int, pid: int | None = None) -> int:
        """Send a signal to the program, or to one of its processes; return the status; nothing is left behind."""
        os.kill(pid or self.pid, signum)
        status = self.status()
        assert status is not None, f"still there after {signal.Signals(signum).name}\n{self.said()[-3000:]}"
        self.assert_alone()
        return status

    def others(self) -> list[int]:
        """Return the processes of the session beside the first, which are not just zombies."""
        return [pid for pid in in_session(self.pid) if pid != self.pid]

    def assert_alone(self) -> None:
        deadline = time.monotonic() + 10.0
        while (left := self.others()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, f"{left} are left 10 s after the end\n{self.said()[-2000:]}"


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["Z"]


def alive(pid: int) -> bool:
    return _stat(pid)[0] not in "ZX"


def in_session(session: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _stat(int(entry))
            if stat[0] not in "ZX" and len(stat) > 3 and int(stat[3]) == session:
                found.append(int(entry))
    return found


@dataclass
class Starter:
    """Starts programs in a folder."""

    server: Server
    folder: Path
    count: int = 0

    def __call__(
        self, program: str, *words: str, environ: dict[str, str] | None = None, processes: int = 1
    ) -> Program:
        self.count += 1
        log = self.folder / f"log{self.count}.txt"
        log.touch()
        order = {"program": program, "words": words, "folder": str(self.folder), "log": str(log)}
        pid = self.server.ask({**order, "environ": environ or {}, "processes": processes})
        assert isinstance(pid, int)
        return Program(self.server, pid, log)
