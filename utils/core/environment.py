"""Has this Python what the project needs? Imported first by every program: its packages may be those that are missing.

Written for older versions of Python, too, which must get as far as the sentence.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent.parent
# What pyproject.toml requires, with its extra train, and the name under which each is imported.
MODULES = {
    "torch": "torch",
    "pytorch-lightning": "pytorch_lightning",
    "hydra-core": "hydra",
    "omegaconf": "omegaconf",
    "hydra-zen": "hydra_zen",
    "pydantic": "pydantic",
    "numpy": "numpy",
    "scipy": "scipy",
    "h5py": "h5py",
    "mujoco": "mujoco",
    "trimesh": "trimesh",
    "pillow": "PIL",
    "manifold3d": "manifold3d",
    "coacd": "coacd",
    "safetensors": "safetensors",
    "rtree": "rtree",
    "rich": "rich",
    "jaxtyping": "jaxtyping",
    "tensorboard": "tensorboard",
    "matplotlib": "matplotlib",
}


def problem() -> str | None:
    """Return one sentence on what this Python lacks and what to run, or None."""
    if sys.version_info < OLDEST:
        wanted, found = (".".join(map(str, version[:2])) for version in (OLDEST, sys.version_info))
        lacks = f"The project needs Python {wanted} or later, and this is {found}"
    else:
        missing = [name for name, module in MODULES.items() if find_spec(module) is None]
        if not missing:
            return None
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        are = "is" if len(missing) == 1 else "are"
        lacks = f"{', '.join(missing[:3])}{more} {are} not installed for this Python"
    return f"{lacks} ({sys.executable}). {remedy(ROOT)}"


def remedy(root: Path) -> str:
    """Say what to run, by what stands in the project's root."""
    if not (root / "Makefile").is_file():
        return "Install the project for it: python -m pip install 'sceneleapultra[train]'"
    there = Path.cwd() == root
    make = "make setup" if there else f"make -C {root} setup"
    venv = ".venv" if there else f"{root}/.venv"
    if not (root / ".venv" / "bin" / "activate").is_file():
        return f"Run: {make} && source {venv}/bin/activate"
    if Path(sys.prefix) == root / ".venv":
        return f"Its set-up was not finished. Run: rm -r {venv} && {make}"
    return f"Run: source {venv}/bin/activate"


_problem = problem()
if _problem is not None:
    sys.stderr.write(f"{_problem}\n")
    raise SystemExit(1)
