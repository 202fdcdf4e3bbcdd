"""Activations that are recomputed in the backward pass instead of kept: less memory, the same gradients."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import nn

from sceneleapultra.utils.core.names import unknown_name

RECOMPUTED = ("encoder", "decoder")


@runtime_checkable
class Recomputes(Protocol):
    """A module that can recompute its parts in the backward pass."""

    checkpointing: bool


def able(generator: nn.Module) -> dict[str, list[nn.Module]]:
    """Return what can recompute, by the part of the model it belongs to."""
    parts = dict(generator.named_children())
    found = {
        name: [m for m in parts[name].modules() if isinstance(m, Recomputes)]
        for name in RECOMPUTED
        if name in parts
    }
    return {name: modules for name, modules in found.items() if modules}


def recompute(generator: nn.Module, parts: Sequence[str]) -> None:
    """Let parts of a model recompute in the backward pass.

    Raises:
        ValueError: a part that the model has not, or that cannot.
    """
    there = able(generator)
    for name in parts:
        if name not in RECOMPUTED:
            raise unknown_name("hardware.recompute", name, RECOMPUTED)
        if name not in there:
            raise ValueError(
                f"hardware.recompute: this model's {name} cannot recompute. Leave {name} out of the list."
            )
        for module in there[name]:
            module.checkpointing = True  # type: ignore[assignment]
