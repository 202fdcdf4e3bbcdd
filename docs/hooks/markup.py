"""How texts of code, comments and results become cells of Markdown tables; what a page's HTML must not hold."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\*_\[\]|])")
_FETCHED = re.compile(
    r'(?:<(?:script|img|iframe)[^>]*\bsrc|<link[^>]*(?:stylesheet|preload|icon)[^>]*\bhref)="?((?:https?:)?//[^" >]+)'
)
_ALTERNATE = re.compile(r"""<link rel="?alternate"?[^>]*\bhreflang[^>]*>\s*""")


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


def fetched(html: str) -> str | None:
    """Return the first address from which a page would fetch something."""
    found = _FETCHED.search(html)
    return found[1] if found else None


def without_alternates(html: str) -> str:
    """Return a page whose head names no other language.

    The theme's program would look for a sitemap of each, which a browser refuses where files are opened. The menu of
    languages is in the body.
    """
    return _ALTERNATE.sub("", html)
