"""Does each tutorial do what it says? Its blocks run in order, in an empty folder, as a reader would type them.

``bash`` and ``python`` blocks run; a ``text`` block is what those since the one before print, compared in kind:
numbers may differ, and an ellipsis stands for anything. tests/factories/rehearsals.py says how they are made small.
A fake hand on a pseudo-terminal stands for the real one.
"""

import re
from pathlib import Path

import pytest

from factories.fake_leap import fake_leap
from factories.rehearsals import run, steps
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOT = CONFIG_DIR.parent
PAGES = sorted(p for p in (ROOT / "docs" / "tutorials").glob("*.md") if not p.name.endswith(".zh.md"))
EXTRAS = {"serve": "fastapi"}  # what a page says it needs beside the project, and runs
_NUMBER = re.compile(r"-?\d[\d,.]*|-?\.\d+")


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


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_tutorial_runs_and_prints_what_it_shows(page: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    if page.stem in EXTRAS:
        pytest.importorskip(EXTRAS[page.stem])
    folder = tmp_path / "anywhere"
    folder.mkdir()
    found = steps(page, tables=False)
    with fake_leap() as hand:
        named = {"/dev/ttyUSB0": hand.port}
        status, outputs = run(found, folder, shell, small=False, timeout=1500, named=named)
    assert status == 0, f"{page.name}:\n{''.join(outputs)[-4000:]}"
    since = ""
    for step, printed in zip(found, outputs, strict=True):
        if step.kind == "text":
            line = missing(step.shown, since)
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
