"""Which kind of device a computation is planned for, where it chooses its way by that and runs elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

_planned: str | None = None


@contextmanager
def planned_for(kind: str) -> Iterator[None]:
    """Let what chooses by the kind of device, ``cpu`` or ``cuda``, choose as it would there."""
    global _planned
    before, _planned = _planned, kind
    try:
        yield
    finally:
        _planned = before


def device_kind(kind: str) -> str:
    """Return the kind of device to choose by: the planned one, else the given one."""
    return _planned or kind
