"""Does every command that the pages show exist, with the options they show?

Fast: each program is asked once for its help, ``make`` for what it would do, and the settings of a command are composed
here. tests/test_pages.py runs what can be run.
"""

import ast
import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from hydra import initialize_config_dir
from hydra.errors import HydraException

from sceneleapultra.utils.core.config import CONFIG_DIR, require_values
from sceneleapultra.utils.core.hand_files import name_hand_files

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


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (page, text) of every fenced block in a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [
        (page.name, text) for page in ENGLISH if page.is_file() for text in fence.findall(page.read_text())
    ]


def commands() -> list[tuple[str, list[str]]]:
    """Return (page, words) of every command; continued lines are joined, comments dropped."""
    lines = [(page, line) for page, text in blocks("bash") for line in text.replace("\\\n", " ").splitlines()]
    # Those of tables, between backticks; a program that is only named is no command.
    lines += [
        (page.name, line)
        for page in ENGLISH
        for line in re.findall(r"^\|.*`((?:python|torchrun|make) [^`]+)`", page.read_text(), re.MULTILINE)
    ]
    found = [(page, shlex.split(line, comments=True)) for page, line in lines]
    return [(page, words) for page, words in found if words]


@functools.cache
def printed(*command: str) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
    return done.stdout


def rehearse(words: list[str]) -> None:
    """Make sure that a command would start, without doing its work.

    Raises:
        ValueError: the test does not know the program; teach it.
    """
    match words:
        case ["make", *targets]:
            printed("make", "-n", *targets)
        case ["bash", script, *_]:
            printed("bash", "-n", script)
        case ["torchrun", *rest]:
            start = next(i for i, word in enumerate(rest) if word.endswith(".py"))
            rehearse(["python", *rest[start:]])
        case ["srun", *rest]:
            rehearse(rest)
        case ["python" | ".venv/bin/python", script, *rest] if script.endswith(".py"):
            told = printed(sys.executable, script, "--help")
            root = re.search(r'@hydra_program\("(\w+)"', (ROOT / script).read_text())
            if root is None:
                flags = [word.partition("=")[0] for word in rest if word.startswith("--")]
                if not all(flag in told for flag in flags) and not rest[0].startswith("-"):  # of a part of it
                    told = printed(sys.executable, script, rest[0], "--help")
                missing = [flag for flag in flags if flag not in told]
                assert not missing, f"{script} has no {missing}"
                return
            overrides = [word for word in rest if word not in {"-m", "--multirun", "--help"}]
            # Where a page names a hand's file, its reader has one.
            overrides = ["hand=leap_right" if word.startswith("hand=hands/") else word for word in overrides]
            overrides = name_hand_files(overrides, root[1])
            with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
                cfg = hydra.compose(root[1], overrides)
            if "--help" not in rest:
                require_values(cfg)
        case ["python", "-m", module, *rest]:
            text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
            missing = [word for word in rest if word.startswith("--") and f'"{word}"' not in text]
            assert not missing, f"{module} has no {missing}"
        case ["curl", *_]:  # tests/serving/test_pages.py runs them
            return
        case ["docker", *rest]:  # tests/test_docker.py looks at what is in them
            assert (ROOT / rest[rest.index("-f") + 1]).is_file()
        case ["git" | "cd" | "pip" | "source" | "[", *_]:
            return
        case _:
            raise ValueError(f"tests/test_readme.py does not know how to rehearse {words}; add a case.")


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_commands_on_the_pages_would_start(page: str, words: list[str]) -> None:
    rehearse(words)


@pytest.mark.parametrize(
    "words", ["python train_lightning.py optimizer.lrr=1", "python scripts/predict.py --stepz 3"]
)
def test_commands_that_would_not_start_are_found(words: str) -> None:
    with pytest.raises((AssertionError, HydraException), match=r"lrr|stepz"):
        rehearse(words.split())


@pytest.mark.parametrize(("page", "text"), blocks("python"))
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
    for name, words in commands():
        if name != page.name:
            continue
        used = {m[1] for word in words if (m := re.search(r"(runs/\S+?)/checkpoints/", word))}
        assert used <= made, f"{page.name}: {' '.join(words)}"
        made |= {word.removeprefix("run_dir=") for word in words if word.startswith("run_dir=")}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [p for p in PAGES if p.is_file()], ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        path = os.path.relpath(page.parent / target, ROOT)
        if "://" not in target and not path.startswith(GENERATED):
            assert (ROOT / path).exists(), f"{page.name} links to {target}"
