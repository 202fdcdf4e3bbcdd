"""Say what is installed and what this machine has: add it to a report of a bug.

python scripts/info.py
python scripts/info.py --json

Imports neither torch nor MuJoCo, so it answers where they fail, too.
"""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401
from sceneleapultra.utils.core.environment import MODULES, ROOT

import hashlib
import json as json_format
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from sceneleapultra import __version__
from sceneleapultra.models.checkpoints.zoo import ZOO, shipped_models
from sceneleapultra.utils.core import cli

_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HYDRA_FULL_ERROR", "MUJOCO_GL", "OMP_NUM_THREADS", "PYTHONPATH")
_GPUS = "--query-gpu=name,memory.total,driver_version"


def info(*, json: bool = False) -> None:
    """Print versions, extras, devices and shipped models.

    Args:
        json: as JSON
    """
    facts = collect()
    if json:
        sys.stdout.write(f"{json_format.dumps(facts, indent=1)}\n")
        return
    for topic, found in facts.items():
        rows = found.items() if isinstance(found, dict) else [("", found)]
        for number, (name, value) in enumerate(rows):
            sys.stdout.write(f"{topic if number == 0 else '':10} {f'{name} {value}'.strip()}\n")


def collect() -> dict[str, Any]:
    """Return the facts by topic."""
    return {
        "project": {"sceneleapultra": __version__, "from": _origin()},
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": {
            "": platform.platform(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
        "gpus": _gpus(),
        "pictures": "drawn on the processor; no graphics system is used",
        "packages": {name: _version(name) or "missing" for name in MODULES},
        "extras": {name: ", ".join(_found(names)) for name, names in extras().items()},
        "models": {name: f"SHA-256 {_digest(ZOO / name / 'model.ckpt')}" for name in shipped_models()},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ} or "none set",
    }


def extras() -> dict[str, list[str]]:
    """Return the packages that each extra adds to ``train``, by what is installed or by the checkout's own file."""
    file = ROOT / "pyproject.toml"
    if file.is_file():
        named = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    else:
        named = {}
        for line in metadata.requires("sceneleapultra") or []:
            requirement, _, marker = line.partition(";")
            if match := re.search(r"extra == ['\"]([\w-]+)['\"]", marker):
                named.setdefault(match[1], []).append(requirement)
    found = {name: [re.split(r"[\[<>=!~ ;]", line)[0] for line in lines] for name, lines in named.items()}
    return {
        name: [package for package in packages if package != "sceneleapultra"]
        for name, packages in found.items()
        if name not in ("train", "dev")
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _found(packages: list[str]) -> list[str]:
    return [f"{name} {_version(name) or 'missing'}" for name in packages]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _origin() -> str:
    """Say where the project lies, and at which commit."""
    if not (ROOT / ".git").exists():
        return str(ROOT)
    commit = _run("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    changed = ", with changes" if _run("git", "-C", str(ROOT), "status", "--porcelain", "-uno") else ""
    return f"{ROOT}, commit {commit or 'unknown'}{changed}"


def _gpus() -> str | dict[str, str]:
    lines = _run("nvidia-smi", _GPUS, "--format=csv,noheader").splitlines()
    return {str(number): line for number, line in enumerate(lines)} or "none that nvidia-smi shows"


def _run(*command: str) -> str:
    """Return what a program prints; nothing where it is not there, fails or does not answer."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def main() -> None:
    """Answer what the command line names."""
    cli.run(info, __doc__)


if __name__ == "__main__":
    main()
