"""The card of a hand: its proposed meaning as a file that a person can read and correct."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from sceneleapultra.hands.description import Semantics
from sceneleapultra.utils.core.files import write_text

_HEAD = """\
# Proposed by `sceneleap doctor` from geometry and motion; lengths in metres, angles in radians (slides in metres).
# Correct what is wrong: docs/hands.md says what each key means.
"""


def write_card(path: Path, name: str, source: Path, semantics: Semantics) -> None:
    """Write a card beside which the hand's own file is named by its relative path.

    Args:
        path: of the card.
        name: of the hand.
        source: the hand's file.
        semantics: what its parts mean.
    """
    document = {
        "name": name,
        "description": os.path.relpath(source.resolve(), path.resolve().parent),
        "semantics": {key: _plain(value) for key, value in asdict(semantics).items() if value is not None},
    }
    write_text(path, _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


class _Dumper(yaml.SafeDumper):
    """Lists of numbers and names in one line."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.Node:
        """Write what holds no mapping in one line."""
        flat = not any(isinstance(each, dict) for each in sequence)
        return super().represent_sequence(tag, sequence, flow_style=flat)
