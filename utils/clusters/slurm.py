"""Tasks in a job array of SLURM: its elements connect to this program and get one task at a time."""

import logging
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from sceneleapultra.utils.clusters.job import cancel, job_script, last_lines, require_slurm, state_of, submit
from sceneleapultra.utils.clusters.pool import WorkerPool
from sceneleapultra.utils.core.console import print_script
from sceneleapultra.utils.core.parallel import AHEAD, Executor, Result, Submit, Task

_log = logging.getLogger(__name__)


class SlurmExecutor(Executor):
    """An array of workers, submitted when the first task is there, ended with this program.

    Args:
        workers: elements of the array.
        options: of ``sbatch``, by their long names; None leaves one out.
        setup: lines of shell that each worker runs first.
        folder: where scripts, logs and the address of this program are written; seen by all nodes.
        host: name by which the nodes reach this machine; None: its own.
        dry_run: print the script and end.

    Raises:
        ValueError: no number of workers.
    """

    def __init__(
        self,
        *,
        workers: int | Literal["auto"],
        options: dict[str, str | int | None],
        setup: list[str],
        folder: str,
        host: str | None,
        dry_run: bool,
    ) -> None:
        if workers == "auto" or workers < 1:
            raise ValueError(
                f"workers={workers}: expected the number of workers that SLURM is asked for, at least 1: workers=32."
            )
        self.workers, self.options, self.setup, self.dry_run = workers, options, setup, dry_run
        self.host = host or socket.gethostname()
        self.folder = Path(folder).absolute() / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{os.getpid()}"
        self._pool: WorkerPool | None = None
        self._last_state = ""  # what SLURM said of a job that waits

    @property
    def in_flight(self) -> int:
        """Enough to keep every worker busy."""
        return AHEAD * self.workers

    @contextmanager
    def session(self, fn: Callable[[Task], Result]) -> Iterator[Submit[Task, Result]]:
        """Submit the array, if that has not been done, and give its workers ``fn``."""
        if self._pool is None:
            self._pool = self._start()
        with self._pool.session(fn) as submit_task:
            yield submit_task

    def script(self) -> str:
        """Return the script that is submitted."""
        options = {"job-name": "sceneleap", "output": str(self.folder / "log-%a.txt"), **self.options}
        command = ["-m", "sceneleapultra.utils.clusters.worker", str(self.folder / "address.json")]
        return job_script(options, self.setup, command, array=self.workers)

    def _start(self) -> WorkerPool:
        script = self.script()
        if self.dry_run:
            print_script(script)
            raise SystemExit(0)
        require_slurm()
        self.folder.mkdir(parents=True)
        job = ""
        pool = WorkerPool(self.host, lambda: self._missing(job))
        pool.address.write(self.folder / "address.json")
        job = submit(script, self.folder / "job.sh")
        weakref.finalize(self, _end, pool, job, self.folder)  # at the end of this program, too
        _log.info("SLURM job %s: %d workers; script and logs: %s", job, self.workers, self.folder)
        return pool

    def _missing(self, job: str) -> str | None:
        """Say why no worker will come, if none will."""
        if (state := state_of(job)) is None:
            return (
                f"SLURM job {job} has ended, and tasks are left: {last_lines(list(self.folder.glob('log-*.txt')))}. "
                "The same command continues."
            )
        if not state.startswith("RUNNING") and state != self._last_state:
            self._last_state = state
            _log.info("SLURM job %s: %s", job, state)
        return None


def _end(pool: WorkerPool, job: str, folder: Path) -> None:
    pool.close()
    cancel(job)
    (folder / "address.json").unlink(missing_ok=True)
