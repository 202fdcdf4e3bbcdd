"""What a checkpoint's configuration may make: about as many numbers as the weights beside it are."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

# Beyond a file's own: tables that are not saved, and parameters that are replaced while a model is built.
_SPARE_NUMBERS, _SPARE_PARAMETERS = 20_000_000, 1000
_OF_A_SIZE = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)


@contextmanager
def no_larger_than(weights: Mapping[str, Any], path: str | Path) -> Iterator[None]:
    """Build a model in here: one that is much larger than its weights is refused before memory is taken for it.

    Raises:
        ValueError: the configuration describes a tensor, or more parameters, than the file can hold.
    """
    numbers = sum(value.numel() for value in weights.values() if isinstance(value, Tensor))
    count = 0

    def refuse(what: str) -> None:
        raise ValueError(
            f"{path} holds weights of another architecture than its configuration describes: that asks for {what}, the "
            f"file has {len(weights)} tensors of {numbers:,} numbers in all. Was the file changed?"
        )

    def count_one(module: nn.Module, name: str, parameter: object) -> None:
        nonlocal count
        count += 1
        if count > len(weights) + _SPARE_PARAMETERS:
            refuse(f"more than {count - 1:,} parameters")

    handle = register_module_parameter_registration_hook(count_one)
    try:
        with _Sizes(numbers + _SPARE_NUMBERS, refuse):
            yield
    finally:
        handle.remove()


class _Sizes(TorchFunctionMode):
    """Looks at the sizes of tensors before they are made."""

    def __init__(self, limit: int, refuse: Callable[[str], None]) -> None:
        super().__init__()
        self.limit, self.refuse = limit, refuse

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Refuse a size beyond the limit."""
        kwargs = kwargs or {}
        size = None
        if func in _OF_A_SIZE:
            first = kwargs.get("size", args[0] if args else ())
            size = tuple(first) if isinstance(first, tuple | list) else args
        elif func is torch.linspace:
            size = (kwargs["steps"] if "steps" in kwargs else args[2],)
        elif func is torch.arange:
            size = (max(map(abs, args)),)
        if size is not None and math.prod(size) > self.limit:
            self.refuse(f"a tensor of {' x '.join(map(str, size))} numbers")
        return func(*args, **kwargs)
