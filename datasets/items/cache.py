"""What a process remembers of a store: least recently used first out, within a budget of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


class ByteCache:
    """Keeps what ``load`` returned, as long as it fits; errors are never kept."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.used_bytes = max_bytes, 0
        self.hits, self.misses = 0, 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the content behind: each process keeps its own."""
        return ByteCache(self.max_bytes).__dict__

    def get(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """Return what is kept under ``key``, or load it."""
        if key in self._entries:
            self.hits += 1
            self._entries.move_to_end(key)
            return self._entries[key][0]
        value = load()
        self.misses += 1
        size = num_bytes(value)
        self._entries[key] = (value, size)
        self.used_bytes += size
        while self.used_bytes > self.max_bytes:
            self.used_bytes -= self._entries.popitem(last=False)[1][1]
        return value


def num_bytes(value: Any) -> int:
    """Return the bytes of all arrays in a record."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    return sum(num_bytes(getattr(value, f.name)) for f in fields(value)) if is_dataclass(value) else 0
