"""Is a Python without the project's packages, or too old for it, answered by a sentence in every program?"""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from sceneleapultra.utils.core import environment
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PROGRAMS = [
    path
    for pattern in ("*.py", "scripts/*.py", "benchmarks/*.py")
    for path in sorted(ROOT.glob(pattern))
    if '__name__ == "__main__"' in path.read_text()
]
GUARD = "sceneleapultra.utils.core.environment"


def test_the_programs_are_found() -> None:
    assert {"train_lightning.py", "predict.py", "loader.py"} <= {path.name for path in PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_every_program_looks_for_its_packages_before_it_imports_one(program: Path) -> None:
    names = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.parse(program.read_text(), feature_version=(3, 8)).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert next(name for name in names if name != "__future__") == GUARD


@pytest.mark.parametrize(
    "path", ["__init__.py", "utils/__init__.py", "utils/core/__init__.py", "utils/core/environment.py"]
)
def test_what_runs_before_the_check_is_read_by_older_pythons(path: str) -> None:
    ast.parse((ROOT / f"sceneleapultra/{path}").read_text(), feature_version=(3, 7))


@pytest.mark.parametrize(
    "words",
    [
        ["train_lightning.py"],
        ["scripts/store.py"],
        ["benchmarks/heads.py"],
        ["-m", "sceneleapultra", "train"],
    ],
)
def test_a_python_without_the_packages_is_answered_by_a_sentence(words: list[str]) -> None:
    """``-S``: this Python as it is without site-packages."""
    done = subprocess.run([sys.executable, "-S", *words, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "torch, pytorch-lightning, hydra-core and 17 more are not installed for this Python ("
    )
    assert len(done.stderr.splitlines()) == 1 and "Run: " in done.stderr


def test_the_sentence_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = "Install the project for it: python -m pip install 'sceneleapultra[train]'"
    assert environment.remedy(tmp_path) == wanted
    (tmp_path / "Makefile").touch()
    assert environment.remedy(tmp_path) == "Run: make setup && source .venv/bin/activate"
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    assert environment.remedy(tmp_path) == "Run: source .venv/bin/activate"
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert environment.remedy(tmp_path) == "Its set-up was not finished. Run: rm -r .venv && make setup"
    monkeypatch.chdir(ROOT)
    assert environment.remedy(tmp_path).endswith(f"Run: rm -r {tmp_path}/.venv && make -C {tmp_path} setup")


def test_an_old_python_and_one_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.problem() is None
    monkeypatch.setattr(environment, "MODULES", {"numpy": "numpy", "rtree": "no_such_module"})
    assert environment.problem().startswith(f"rtree is not installed for this Python ({sys.executable}). ")
    monkeypatch.setattr(environment, "OLDEST", (4, 2))
    assert environment.problem().startswith("The project needs Python 4.2 or later, and this is 3.")


def test_what_is_looked_for_is_what_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = project["dependencies"] + project["optional-dependencies"]["train"]
    required = {word.split(">")[0].split("<")[0].strip() for word in words}
    assert set(environment.MODULES) == required
    assert project["requires-python"] == ">=" + ".".join(map(str, environment.OLDEST))
    homes = packages_distributions()
    for name, module in environment.MODULES.items():
        if module in homes:  # a package may list no module of its own
            assert name in {found.lower().replace("_", "-") for found in homes[module]}
