"""What ``config/hardware`` says of memory, applied to a model that is about to be trained: recomputing and passes."""

from typing import Any

import torch
from omegaconf import DictConfig

from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.passes import Passes, indivisible
from sceneleapultra.models.recomputing import recompute
from sceneleapultra.utils.core.console import say
from sceneleapultra.utils.core.resources import GIB, holds
from sceneleapultra.utils.training.sharding import FullySharded


def fit_to_hardware(cfg: DictConfig, model: GraspModule, trainer: Any) -> None:
    """Let a model compute its steps as the hardware's settings say.

    Raises:
        ValueError: a GPU that is smaller than they say, a model whose batches cannot be divided, or one whose weights
            cannot.
    """
    settings, device = cfg.hardware, trainer.strategy.root_device
    if device.type == "cuda":
        check_size(settings.gpu_gib, torch.cuda.get_device_properties(device).total_memory)
    number, most, recomputed = settings.passes, settings.max_passes, list(settings.recompute)
    if isinstance(trainer.strategy, FullySharded):
        check_divisible(model, trainer.world_size)
        number = 1  # a step in passes takes its gradient by whole weights; validate() refuses other numbers
        model.memory_note = f"not planned: weights are divided among {trainer.world_size} processes"
    if number == "auto":
        from sceneleapultra.models.memory.choice import choose  # here: most runs need no plan

        made = choose(cfg, model, device)
        number, most, recomputed = made.passes, made.max_passes, made.recompute
        model.memory_note = made.reason
    elif number == "plan":
        from sceneleapultra.models.memory.plan import Planned

        number = Planned.of(cfg, device.type).way(int(settings.gpu_gib * GIB), settings.recompute).passes
    recompute(model.generator, recomputed)
    most = max(number, most if device.type == "cuda" else number)
    if most == 1:
        return
    if (reason := indivisible(model.objective, model)) is None:
        model.passes = Passes(number, most)
    elif number > 1:
        raise ValueError(f"hardware.passes={number}: {reason}. Pass hardware.passes=1, or a smaller batch.")
    else:
        say(f"A step that does not fit on the GPU will stop the run, because {reason}.")


def check_divisible(model: GraspModule, processes: int) -> None:
    """Refuse what cannot be trained with weights divided among processes.

    Raises:
        ValueError: a single process, or a model beside which another is trained that reads its whole weights.
    """
    generator, objective = model.generator, type(model.objective)
    reason = None
    if processes == 1:
        reason = "divides the weights among processes, and there is one. Pass hardware.devices=<more>"
    elif objective.after_step is not Objective.after_step:
        reason = f"cannot train {objective.__name__}, whose target follows whole weights. Pass hardware.strategy=auto"
    elif isinstance(generator, GraspGenerator) and generator.hand_encoder is not None:
        reason = (
            "cannot train a model of several hands, which share whole weights. Pass hardware.strategy=auto"
        )
    if reason is not None:
        raise ValueError(f"hardware.strategy=fsdp {reason}.")


def check_size(gpu_gib: float | None, there: int) -> None:
    """Refuse a GPU of fewer bytes than settings are made for.

    Raises:
        ValueError: it has fewer.
    """
    if gpu_gib is not None and not holds(there, gpu_gib):
        raise ValueError(
            f"hardware.gpu_gib={gpu_gib:g}, but the GPU has {there / GIB:.1f}. Pass a preset of its size "
            "(hardware=low, medium, high or h200: 8, 16, 32 or 139 GiB), or hardware=auto."
        )
