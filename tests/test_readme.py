"""Does every command that the pages show exist, with the options they show?

Fast: tests/factories/page_checks.py has each program's own parser read its words, and does none of its work.
tests/test_pages.py runs what can be run.
"""

import ast
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from factories.page_checks import check
from factories.rehearsals import steps
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Tutorials are run by tests/test_tutorials.py, and pages in Chinese show what those in English do: tests/test_site.py.
ENGLISH = [p for p in PAGES if not p.name.endswith(".zh.md") and p.parent.name != "tutorials"]
# Pages that make docs makes; it holds the links to them.
GENERATED = (
    "docs/reference/commands.md",
    "docs/reference/columns.md",
    "docs/reference/configuration/",
    "docs/benchmarks/",
)


def commands() -> list[tuple[str, str]]:
    """Return (page, command) of every command."""
    return [(page.name, step.shown) for page in ENGLISH for step in steps(page) if step.kind == "bash"]


def blocks() -> list[tuple[str, str]]:
    """Return (page, text) of every block of Python."""
    return [(page.name, step.shown) for page in ENGLISH for step in steps(page) if step.kind == "python"]


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_on_the_pages_would_start(page: str, command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("python train_lightning.py optimizer.lrr=1", "lrr"),
        ("python scripts/predict.py --stepz 3", "stepz"),
        ("python -m benchmarks.camera --scenez 3", "scenez"),
        ("torchrun --nproc-per-node 2 train_lightning.py trainer.max_steps=0", "max_steps"),
        ("make demoo", "demoo"),
        ("pip install 'sceneleapultra[servee]'", "servee"),
        ("docker build -f docker/Dockerfile --target gpu .", "gpu"),
        ("ray start --heads", "heads"),
    ],
)
def test_commands_that_would_not_start_are_found(command: str, said: str) -> None:
    with pytest.raises(Exception, match=said):  # the programs' own
        check(command)


def test_looking_at_a_verb_leaves_no_bytecode_with_the_checks_of_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # runpy reads a module's code beside the hook's own naming of its files: users' programs would find it.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    check("sceneleap store --help")
    left = [file.name for file in tmp_path.rglob("store.*.pyc") if b"jaxtyped" in file.read_bytes()]
    assert not [name for name in left if "jaxtyping" not in name], left


@pytest.mark.parametrize(("page", "text"), blocks())
def test_python_on_the_pages_parses_and_imports_what_exists(page: str, text: str) -> None:
    import importlib

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert getattr(module, alias.name, None) is not None, (
                    f"{page}: {node.module} has no {alias.name}"
                )


@pytest.mark.parametrize("page", [page for page in ENGLISH if page.is_file()], ids=lambda path: path.name)
def test_a_checkpoint_of_a_run_is_one_that_the_page_trains(page: Path) -> None:
    """A run without run_dir lies in a folder named by the clock, which no page can know."""
    made = {"runs/quickstart"}  # by make quickstart
    for name, command in commands():
        if name != page.name:
            continue
        words = shlex.split(command)
        used = {m[1] for word in words if (m := re.search(r"(runs/\S+?)/checkpoints/", word))}
        assert used <= made, f"{page.name}: {command}"
        made |= {word.removeprefix("run_dir=") for word in words if word.startswith("run_dir=")}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [p for p in PAGES if p.is_file()], ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        path = os.path.relpath(page.parent / target, ROOT)
        if "://" not in target and not path.startswith(GENERATED):
            assert (ROOT / path).exists(), f"{page.name} links to {target}"
