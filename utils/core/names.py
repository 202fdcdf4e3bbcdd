"""How an unknown name is answered: with the nearest known one and the whole list."""

import difflib
from collections.abc import Iterable
from pathlib import Path


def unknown_name(kind: str, name: str, available: Iterable[str]) -> ValueError:
    """Return the error to raise when ``name`` is not one of the ``available`` names of this ``kind``."""
    known = sorted(available)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return ValueError(f"Unknown {kind} '{name}'.{hint} Available: {', '.join(known)}.")


def nearest_file(path: Path) -> str:
    """Return " Did you mean ...?" with the file that a missing one most likely meant; "" where none is like it."""
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f" Did you mean {folder / close[0]}?" if close else ""
