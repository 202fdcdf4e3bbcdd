"""Which of many tensors hold a value that is not finite."""

from collections.abc import Mapping

import torch
from torch import Tensor


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
