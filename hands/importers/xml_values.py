"""What stands in the attributes of a hand's XML, checked."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sceneleapultra.hands.description import Vector


def attribute(element: ET.Element, key: str, path: Path) -> str:
    """Return an attribute that must be there."""
    if key not in element.attrib:
        raise ValueError(f'{path}: <{element.tag}> has no {key}="…". Add it.')
    return element.attrib[key]


def numbers(element: ET.Element, key: str, count: int, path: Path) -> Vector:
    """Return an attribute that is so many finite numbers."""
    text = attribute(element, key, path)
    try:
        values = tuple(float(x) for x in text.split())
    except ValueError:
        values = ()
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(
            f'{path}: expected {count} number(s) in <{element.tag} {key}="{text}">, separated by spaces.'
        )
    return values


def listed(names: Sequence[str], kind: str = "joint") -> str:
    """Return names as part of a sentence: joint 'a', or joints 'a', 'b'."""
    return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(repr(name) for name in names)}"
