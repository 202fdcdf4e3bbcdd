"""Which code a process runs: what is computed by another version of it may be something else."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sceneleapultra

_PACKAGES = ("numpy", "scipy", "torch", "mujoco", "trimesh", "manifold3d", "coacd")  # that change a number


@cache
def code_version() -> str:
    """Return a hash of the project's files and of the versions of the packages that compute."""
    digest = hashlib.sha256()
    for folder in sorted(path for path in Path(sceneleapultra.__file__).parent.iterdir() if path.is_dir()):
        for file in sorted(folder.resolve().rglob("*.py")):
            digest.update(
                f"{folder.name}/{file.relative_to(folder.resolve())}\0".encode() + file.read_bytes()
            )
    for package in _PACKAGES:
        digest.update(f"{package} {_version(package)}\n".encode())
    return digest.hexdigest()[:12]


def other_code(where: str, theirs: str, ours: str) -> str:
    """Say that a worker would compute with other code than this program."""
    return (
        f"{where} has another version of the project or of its packages (hash {theirs}, the program has {ours}), which "
        "may compute something else. Install the same there, or put the project on a file system that all share."
    )


def _version(package: str) -> str:
    try:
        return version(package).partition("+")[0]  # torch+cpu and torch+cu130 are one version
    except PackageNotFoundError:
        return "none"
