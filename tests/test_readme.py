"""Does every command that the pages show exist, with the options they show?

Fast: each command is asked what it would do (``make -n``, Hydra's ``--cfg job``, ``--help``). The two commands at the
top of the README are run by ``.ci/run`` itself.
"""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (page, text) of every fenced block in a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, text) for page in PAGES if page.is_file() for text in fence.findall(page.read_text())]


def commands() -> list[tuple[str, list[str]]]:
    """Return (page, words) of every command; continued lines are joined, comments dropped."""
    lines = [(page, line) for page, text in blocks("bash") for line in text.replace("\\\n", " ").splitlines()]
    found = [(page, shlex.split(line, comments=True)) for page, line in lines]
    return [(page, words) for page, words in found if words]


def rehearsal(words: list[str]) -> list[str]:
    """Turn a command into one that shows it would start, without doing its work.

    Raises:
        ValueError: the test does not know the program; teach it.
    """
    match words:
        case ["make", *targets]:
            return ["make", "-n", *targets]
        case ["bash", script, *_]:
            return ["bash", "-n", script]
        case ["torchrun", *rest]:
            start = next(i for i, word in enumerate(rest) if word.endswith(".py"))
            return rehearsal(["python", *rest[start:]])
        case ["python" | ".venv/bin/python", script, *rest] if script.endswith(".py"):
            hydra = "@hydra.main" in (ROOT / script).read_text()
            rest = [word for word in rest if word not in {"-m", "--multirun", "--help"}]
            return [sys.executable, script, *([*rest, "--cfg", "job"] if hydra else ["--help"])]
        case ["git" | "cd" | "pip", *_]:
            return ["true"]
    raise ValueError(f"tests/test_readme.py does not know how to rehearse {words}; add a case.")


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_commands_on_the_pages_would_start(page: str, words: list[str]) -> None:
    done = subprocess.run(rehearsal(words), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{page}: {' '.join(words)}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"


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


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [p for p in PAGES if p.is_file()], ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
