"""How an unknown name is answered: with the nearest known one and the whole list."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, available: Iterable[str]) -> ValueError:
    """Return the error to raise when ``name`` is not one of the ``available`` names of this ``kind``."""
    known = sorted(available)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return ValueError(f"Unknown {kind} '{name}'.{hint} Available: {', '.join(known)}.")
