"""How the trials of a sweep are run: trainings in processes of their own, as many at a time as asked for."""

import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sceneleapultra.utils.core.console import say
from sceneleapultra.utils.core.locks import owned_lock
from sceneleapultra.utils.core.overrides import word
from sceneleapultra.utils.core.programs import ended_with_this, start_program
from sceneleapultra.utils.sweeps.study import Study, storage_of

_POLL_S = 0.2
_HOPELESS = 3  # trials that fail, and none that does not


@dataclass(frozen=True)
class Trials:
    """The trainings of a sweep.

    Attributes:
        folder: of the sweep; trial 7 is the run ``trials/007``.
        train: overrides that all of them have.
        pruning: settings of :class:`~sceneleapultra.utils.sweeps.pruning.PruneTrial`.
    """

    folder: Path
    train: Sequence[str]
    pruning: dict[str, Any]

    def run_dir(self, number: int) -> Path:
        """Return the folder of a trial's run."""
        return self.folder / "trials" / f"{number:03d}"

    def words(self, number: int, values: dict[str, Any]) -> list[str]:
        """Return the overrides of a trial's training."""
        prune = {
            "_target_": "sceneleapultra.utils.sweeps.pruning.PruneTrial",
            "storage": storage_of(self.folder),
            "trial": number,
            **self.pruning,
        }
        return [
            *self.train,
            *(word(key, value) for key, value in values.items()),
            word("run_dir", self.run_dir(number)),
            *(word(f"+callbacks.prune.{key}", value) for key, value in prune.items()),
        ]

    def run(self, study: Study, *, trials: int, jobs: int) -> None:
        """Train until so many trials have ended; those that were running when the sweep was stopped go on first.

        Raises:
            ValueError: all of the first ones failed.
            Stopped: a signal ended the sweep, and its trainings in order.
        """
        running: dict[subprocess.Popen[bytes], int] = {}
        again = study.unfinished()
        with ended_with_this(running.keys()), ExitStack() as files:
            while True:
                while len(running) < jobs and (again or len(study.trials) < trials):
                    number, values = study.begin(again.pop(0) if again else None)
                    say(f"trial {number}: {' '.join(word(key, value) for key, value in values.items())}")
                    output = self._free(number) / "output.txt"
                    words = self.words(number, values)
                    running[start_program("train", words, files.enter_context(output.open("a")))] = number
                if not running:
                    return
                process = _first_ended(list(running))
                self._end(study, running.pop(process), process.returncode)

    def _free(self, number: int) -> Path:
        """Return the folder of a run that nobody trains in: what a killed sweep left ends with its step."""
        folder = self.run_dir(number)
        folder.mkdir(parents=True, exist_ok=True)
        with owned_lock(folder / "lock", doing="starting a trial", wait=True):
            return folder

    def _end(self, study: Study, number: int, status: int) -> None:
        trial = study.end(number, failed=status != 0)
        state = trial.state.name
        if state == "FAIL":
            words = last_line(self.run_dir(number) / "output.txt")
            say(f"trial {number} failed (status {status}): {words}", "yellow")
            ended = study.ended
            if len(ended) >= _HOPELESS and all(one.state.name == "FAIL" for one in ended):
                raise ValueError(
                    f"The first {len(ended)} trials failed. The last says: {words} More: "
                    f"{self.run_dir(number)}/output.txt. Mend it, and begin in another folder."
                )
        elif state == "PRUNED":
            say(f"trial {number} ended early, at step {trial.user_attrs['pruned_at']}")
        else:
            best = study.best()
            mark = ", the best so far" if best is not None and best.number == number else ""
            say(f"trial {number}: {self.pruning['monitor']} {trial.value:.4g}{mark}")


def _first_ended(processes: Sequence[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    while not (ended := [process for process in processes if process.poll() is not None]):
        time.sleep(_POLL_S)
    return ended[0]


def last_line(path: Path) -> str:
    """Return the last words of a program that failed."""
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed.")
