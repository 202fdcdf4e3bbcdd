"""How texts of code, comments and results become cells of Markdown tables."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\*_\[\]|])")


def cell(text: str) -> str:
    """Return a text as one cell shows it: nothing of it is markup but its own spans of code."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner
        parts = ["'".join(parts)]
    for i, part in enumerate(parts):
        parts[i] = part.replace("|", "\\|") if i % 2 else _SPECIAL.sub(r"\\\1", part).replace("<", "&lt;")
    return "`".join(parts)


def code(text: str) -> str:
    """Return a text as one cell shows code."""
    plain = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{plain}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
