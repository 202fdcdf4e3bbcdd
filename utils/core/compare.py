"""What differs between two sets of plain settings."""

from collections.abc import Mapping
from typing import Any


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], sentence: str = "{key} was {old}, is {new}"
) -> list[str]:
    """Say which values differ, inside nested settings too, one ``sentence`` for each in the order of their keys."""
    old, new = leaves(before, ""), leaves(now, "")
    pairs = {key: (old.get(key, "absent"), new.get(key, "absent")) for key in sorted(old.keys() | new.keys())}
    return [
        sentence.format(key=key, old=str(one), new=str(other))
        for key, (one, other) in pairs.items()
        if one != other
    ]


def leaves(node: Any, key: str = "") -> dict[str, Any]:
    """Return the values of nested settings by their dotted keys."""
    if isinstance(node, Mapping) and (node or not key):
        return {k: v for name, child in node.items() for k, v in leaves(child, f"{key}.{name}").items()}
    return {key.lstrip("."): node}
