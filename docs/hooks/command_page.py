"""The page of the command line, from what each verb of ``sceneleap`` prints for ``--help``."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def _help(*words: str) -> str:
    """Return what ``sceneleap <words> --help`` prints.

    Raises:
        RuntimeError: the program ended with an error.
    """
    command = [sys.executable, "-m", "sceneleapultra", *words, "--help"]
    environment = os.environ | {"COLUMNS": "110", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(
            f"sceneleap {' '.join(words)} --help failed, so the page of commands cannot be made:\n{done.stderr}"
        )
    return done.stdout.rstrip().replace(f"{ROOT}/", "")


def command_page() -> str:
    """Return the page: the command itself, then each verb."""
    from sceneleapultra.__main__ import VERBS

    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(_help, VERBS))
    parts = [
        "# The command line",
        "Each program is a verb of `sceneleap` and, in a checkout, a file: `sceneleap predict` is "
        "`python scripts/predict.py`. This page is what `--help` prints.",
        f"```text\n{_help()}\n```",
    ]
    for (verb, (module, summary)), text in zip(VERBS.items(), texts, strict=True):
        file = f"{module.replace('.', '/')}.py"
        parts += [f"## sceneleap {verb}", f"`python {file}`: {summary}.", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"
