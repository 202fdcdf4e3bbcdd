"""Where numbers keep their precision in the midst of mixed precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """Return a context in which autocast is off. A graph that is exported has none of it, and no trace of this."""
    return nullcontext() if torch.compiler.is_exporting() else torch.autocast(device_type, enabled=False)
