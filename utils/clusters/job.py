"""Jobs of SLURM: the script that is submitted, as its user reads it, and what SLURM says of it."""

from sceneleapultra.utils.core.environment import ROOT

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sceneleapultra.utils.core.files import write_text

Options = Mapping[str, str | int | None]
_LOG_LINES = 5

# A signal before the time limit, or before a pre-emption that sends one, puts the job back in the queue.
_ONE = """\
{command}
status=$?
# 138: it was asked by USR1 to make room, has written its checkpoint, and goes on when it is started again.
if [ "$status" -eq 138 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
"""
_ARRAY = """\
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1
{command} &
wait "$!"
status=$?
# Killed, by the kernel for its memory or by somebody: a few times, another one takes its place.
if [ "$status" -gt 128 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt 3 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
"""


def job_script(options: Options, setup: Sequence[str], command: Sequence[str], *, array: int | None) -> str:
    """Write the script of a job that SLURM may stop at any time and start again.

    Args:
        options: of ``sbatch``, without their dashes; None leaves one out.
        setup: lines of shell before the command.
        command: the program and its words.
        array: how many elements, each with the same command; None: one job, its processes started by ``srun``.

    Raises:
        ValueError: an option that cannot stand in a script, or that is decided here.
    """
    seconds = 60 if array else 120
    fixed: Options = {
        "array": None if array is None else f"0-{array - 1}",
        "requeue": "",
        "open-mode": "append",
        "signal": f"{'B:' if array else ''}USR1@{seconds}",
        "chdir": str(Path.cwd()),
    }
    wanted = {name: value for name, value in options.items() if value is not None}
    if clash := sorted(wanted.keys() & (fixed.keys() - {"signal"})):
        raise ValueError(f"launcher.options.{clash[0]} is decided by the program. Leave it out.")
    lines = ["#!/usr/bin/env bash"]
    for name, value in {**{n: v for n, v in fixed.items() if v is not None}, **wanted}.items():
        if "\n" in f"{name}{value}":
            raise ValueError(f"launcher.options.{name}: expected one line, got {value!r}.")
        lines.append(f"#SBATCH --{name}" + (f"={value}" if value != "" else ""))
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    lines += ["", *setup, f"export PYTHONPATH={shlex.quote(path)} OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1"]
    words = shlex.join([*([] if array else ["srun"]), sys.executable, *command])
    return "\n".join([*lines, (_ARRAY if array else _ONE).format(command=words)])


def submit(script: str, path: Path) -> str:
    """Write a script to a file and hand it to SLURM; return the number of the job.

    Raises:
        FileNotFoundError: there is no SLURM here.
        ValueError: SLURM refuses it.
    """
    require_slurm()
    write_text(path, script)
    done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"SLURM refuses {path}: {_sentence(done.stderr)}")
    return done.stdout.strip().partition(";")[0]


def require_slurm() -> None:
    """Make sure that there is a SLURM to submit to.

    Raises:
        FileNotFoundError: there is none.
    """
    if shutil.which("sbatch") is None:
        raise FileNotFoundError(
            "launcher=slurm: there is no sbatch on this machine. Type the command where SLURM's commands are (a login "
            "node), or leave launcher=slurm out."
        )


def state_of(job: str) -> str | None:
    """Return what the queue says of a job or of its array; None where it is no longer in it.

    Raises:
        ValueError: SLURM does not answer.
    """
    done = subprocess.run(["squeue", "-h", "-r", "-j", job, "-o", "%T %r"], capture_output=True, text=True)
    if done.returncode and "Invalid job id" not in done.stderr:
        raise ValueError(f"SLURM does not say what became of job {job}: {_sentence(done.stderr)}")
    lines = [line.removesuffix(" None") for line in done.stdout.splitlines()]
    return next((line for line in lines if line.startswith("RUNNING")), lines[0] if lines else None)


def cancel(job: str) -> None:
    """Take a job out of the queue, and end what runs of it."""
    subprocess.run(["scancel", job], capture_output=True)


def cancel_command(job: str) -> str:
    """Return what ends a training in order: it writes its checkpoint first, and is not put back in the queue."""
    return f"scancel --signal=TERM {job}"


def last_lines(logs: Sequence[Path]) -> str:
    """Return the end of the log that was written last."""
    if not (written := [path for path in logs if path.is_file() and path.stat().st_size]):
        return "no log was written"
    newest = max(written, key=lambda path: path.stat().st_mtime)
    return f"{newest} ends: " + " / ".join(newest.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def _sentence(text: str) -> str:
    return " ".join(text.split()) or "it does not say why."
