"""Which of many tensors hold a value that is not finite, and what a file of such is answered with."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_NAMED = 3  # tensors that a sentence names


def nonfinite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of those that are not finite throughout; waits once for each device they lie on."""
    on_device: dict[torch.device, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if value.is_floating_point() and value.numel():
            # The largest value is not finite where one is not, of whatever size and kind.
            on_device.setdefault(value.device, {})[name] = value.detach().abs().amax().double()
    finite: dict[str, bool] = {}
    for largest in on_device.values():
        finite |= zip(largest, torch.isfinite(torch.stack([*largest.values()])).tolist(), strict=True)
    return [name for name in tensors if not finite.get(name, True)]


def check_finite(tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Refuse a file of weights from which only numbers that are not finite would come.

    Raises:
        ValueError: names the first tensors that are not finite.
    """
    if names := nonfinite(tensors):
        raise ValueError(
            f"{path} holds values that are not finite ({named(names)}): the training that wrote it went wrong. Take an "
            "earlier checkpoint of it."
        )


def named(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
