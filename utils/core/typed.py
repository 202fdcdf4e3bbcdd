"""How the commands in sentences, cards and helps are typed by who reads them: as files of a checkout, or as verbs.

Texts name programs as a checkout has them, ``python scripts/predict.py``; where this program was started as a verb of
the command ``sceneleap``, they are shown as verbs.
"""

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

_PROGRAM = re.compile(
    r"(?<![\w/.-])(?:python )?((?:train|test)_lightning|scripts/\w+|predict|self_train_data)\.py\b"
)
_LAUNCHED = re.compile(r"(torchrun [^\n;,]*)\btrain_lightning\.py\b")
_verbs: dict[str, str] = {}  # of files; empty in a checkout
_started: list[str] = []


def start_verb(verb: str, verbs: Mapping[str, str]) -> None:
    """Show verbs from now on.

    Args:
        verb: which this program is.
        verbs: module of each verb, such as ``scripts.predict``.
    """
    _verbs.update({module.replace(".", "/"): name for name, module in verbs.items()})
    _started[:] = [verb]


def program_name() -> str | None:
    """Return what this program is called by; None for its file's name."""
    return f"sceneleap {_started[0]}" if _started else None


def as_typed(text: str) -> str:
    """Return a text with its commands as they are typed where this program was started."""

    def shown(found: re.Match[str]) -> str:
        verb = _verbs.get(found[1]) or _verbs.get(f"scripts/{found[1]}")
        return f"sceneleap {verb}" if verb else found[0]

    if not _verbs:
        return text
    return _PROGRAM.sub(shown, _LAUNCHED.sub(r"\1-m sceneleapultra train", text))


@contextlib.contextmanager
def help_as_typed(words: Sequence[str]) -> Iterator[None]:
    """Show commands as they are typed in a help that something else prints."""
    if not _verbs or not {"--help", "-h"} & set(words):
        yield
        return
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:  # Hydra ends the program behind its help
        sys.stdout.write(as_typed(printed.getvalue()))
