"""The memory of one training step, by what it is for."""

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sceneleapultra.models.module import GraspModule
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.planned import planned_for
from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.training.memory_trace import MemoryTrace, fake_weights

_BACKWARD = "backward pass"


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Bytes that a training step needs on its device.

    Attributes:
        weights: parameters and buffers.
        gradients: of all trainable parameters.
        optimizer: what it keeps between steps.
        averages: the averaged weights.
        batch: the scenes of one pass.
        computing: at the worst moment of a pass, forward or back: activations, and the gradients made so far.
        updating: at the worst moment of the optimizer: gradients, and what it needs to take a step.
        by_part: of ``computing``, what each part of the model holds.
    """

    weights: int
    gradients: int
    optimizer: int
    averages: int
    batch: int
    computing: int
    updating: int
    by_part: dict[str, int]

    @property
    def always(self) -> int:
        """What is held all the time."""
        return self.weights + self.optimizer + self.averages + self.batch

    @property
    def peak(self) -> int:
        """The most that is held at one moment."""
        return self.always + max(self.computing, self.updating)


Batch = GraspBatch | VoxelBatch


def trace_step(
    make_module: Callable[[], GraspModule],
    batch: Batch,
    *,
    precision: str,
    device: str,
    averaged: bool,
) -> StepMemory:
    """Trace a step of training on a batch; nothing is trained, and what depends on weights is not computed.

    Args:
        make_module: builds the module, to be thrown away.
        batch: of scenes, as one pass sees it.
        precision: one of Lightning's names.
        device: ``cpu`` or ``cuda``: what the step is to run on. It is traced on the CPU either way.
        averaged: whether averages of the weights are kept.
    """
    module = make_module().train()
    weights = _bytes([*module.parameters(), *module.buffers()])
    gradients = _bytes(p for p in module.parameters() if p.requires_grad)
    fake_weights(module)
    optimizer: Optimizer = module.configure_optimizers()["optimizer"]
    trace = MemoryTrace(parts_of(module), "loss terms")
    with planned_for(device), warnings.catch_warnings(), trace:
        warnings.filterwarnings(
            "ignore", "The .grad attribute of a Tensor that is not a leaf"
        )  # of real ones made fake
        with autocast(precision):
            context = module.objective.context(module.generator, batch, step=0, training=True)
            losses = module.objective.losses(context, training=True)
            loss = module.objective.total(losses, 0)
        del context, losses
        trace.outside = _BACKWARD
        loss.backward()
        del loss
        computing, by_part = trace.peak, trace.at_peak
        optimizer.step()  # makes its state
        kept = trace.live
        trace.restart_peak()
        optimizer.step()
    return StepMemory(
        weights=weights,
        gradients=gradients,
        optimizer=max(0, kept - gradients),
        averages=weights if averaged else 0,
        batch=_bytes(getattr(batch, field.name) for field in fields(batch)),
        computing=computing,
        updating=gradients + trace.peak - kept,
        by_part={name: size for name, size in Counter(by_part).most_common() if size > 0},
    )


def run_step(
    module: GraspModule,
    optimizer: Optimizer,
    batch: Batch,
    averages: nn.Module | None,
    precision: str,
) -> None:
    """Train a step as a run does, but for what surrounds it: what :func:`trace_step` foretells."""
    with autocast(precision):
        context = module.objective.context(module.generator, batch, step=0, training=True)
        loss = module.objective.total(module.objective.losses(context, training=True), 0)
    del context
    optimizer.zero_grad()
    loss.backward()
    del loss
    optimizer.step()
    if averages is not None:
        with torch.no_grad():
            for average, value in zip(averages.parameters(), module.parameters(), strict=True):
                average.lerp_(value, 0.001)


def averages_of(module: GraspModule) -> nn.Module:
    """Return a copy of the weights."""
    return copy.deepcopy(module)


def parts_of(module: GraspModule) -> dict[str, nn.Module]:
    """Return the parts of a model that are told apart, by the name of their settings."""
    named = dict(module.generator.named_children())
    heads = named.pop("heads", None)
    of_heads = {} if heads is None else {f"heads.{name}": head for name, head in heads.named_children()}
    return named | of_heads


def autocast(precision: str) -> AbstractContextManager[object]:
    """Return the context that Lightning computes a step in, on a CPU."""
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    return nullcontext() if half is None else torch.autocast("cpu", dtype=half)


def _bytes(tensors: Iterable[object]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in _distinct(tensors))


def _distinct(tensors: Iterable[object]) -> Iterator[Tensor]:
    storages = set()
    for tensor in tensors:
        if isinstance(tensor, Tensor) and (key := tensor.untyped_storage()._cdata) not in storages:
            storages.add(key)
            yield tensor
