"""Does each tutorial do what it says? Its blocks run in order, in an empty folder, as a reader would type them.

``bash`` and ``python`` blocks run; a ``text`` block is what those since the one before print, compared in kind:
numbers may differ, and an ellipsis stands for anything. ``<!-- rehearsal: ... -->`` before a block holds words that
make its last command small enough for a test: they are added to it, and the last word of a kind counts. ``--help``
stands where hardware would move, which has tests of its own.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PAGES = sorted(p for p in (ROOT / "docs" / "tutorials").glob("*.md") if not p.name.endswith(".zh.md"))
EXTRAS = {"serve": "fastapi"}  # what a page says it needs beside the project, and runs
_BLOCK = re.compile(
    r"(?:^<!-- rehearsal: ([^\n]*) -->\n)?^```(bash|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_NUMBER = re.compile(r"-?\d[\d,.]*|-?\.\d+")
_MARK = "\x1e"
SERVICE = "127.0.0.1:8090"  # another port in the test, where others may serve


class Block(NamedTuple):
    """A fenced block of a page."""

    kind: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, commands at the size of a rehearsal."""
    found = []
    for words, kind, text in _BLOCK.findall(page.read_text()):
        found.append(Block(kind, f"{text.rstrip()} {words}\n" if words else text))
    return found


def script(page: Path) -> str:
    """Return one program of bash that runs a page and marks where each block begins."""
    lines = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, (kind, text) in enumerate(blocks(page)):
        lines.append(f"printf '\\n{_MARK}{number}\\n'")
        if kind == "bash":
            lines.append(text)
        elif kind == "python":
            lines.append(f"python - <<'END_OF_BLOCK'\n{text}END_OF_BLOCK")
    return "\n".join(lines)


def in_kind(text: str) -> str:
    return " ".join(_NUMBER.sub("#", text).split())


def missing(expected: str, printed: str) -> str | None:
    """Return the first line of a text block that was not printed in kind, in this order."""
    rest = [in_kind(line) for line in printed.splitlines()]
    for line in map(in_kind, expected.splitlines()):
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in line.split("…")))
        while rest and not pattern.fullmatch(rest[0]):
            rest.pop(0)
        if not rest:
            return line
        rest.pop(0)
    return None


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which ``sceneleap`` and ``python`` are this project's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in (("python", ""), ("sceneleap", " -m sceneleapultra")):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        (folder / name).chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    path = f"{folder}:{kept['PATH']}"
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "160", "WANDB_MODE": "disabled"}


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_tutorial_runs_and_prints_what_it_shows(page: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    if page.stem in EXTRAS:
        pytest.importorskip(EXTRAS[page.stem])
    folder = tmp_path / "anywhere"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    commands = script(page).replace(SERVICE, f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-c", commands],
        cwd=folder,
        env=shell | {"PORT": port},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stdout[-4000:]}"
    outputs = re.split(rf"{_MARK}\d+\n", done.stdout)[1:]
    since = ""
    for block, printed in zip(blocks(page), outputs, strict=True):
        if block.kind == "text":
            line = missing(block.text, since)
            assert line is None, f"{page.name} shows a line that was not printed: {line}\n{since[-4000:]}"
            since = ""
        else:
            since += printed


@pytest.mark.parametrize(
    ("shown", "printed", "line"),
    [
        ("best: 98 %", "up\nbest: 97.5 %", None),
        ("a …\nb", "a 1 2\nc\nb", None),
        ("b\na", "a\nb", "a"),
        ("best: 98 %", "best: 98 m", "best: # %"),
        ("wrote x…", "wrote y", "wrote x…"),
    ],
)
def test_what_is_shown_is_compared_in_kind(shown: str, printed: str, line: str | None) -> None:
    assert missing(shown, printed) == line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_tutorials_are_short(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= 85
