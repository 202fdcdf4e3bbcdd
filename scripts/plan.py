"""Foretell the memory of a training step, and say how it is computed in less; ``--help`` lists the overrides."""

from __future__ import annotations

import sceneleapultra.utils.core.environment  # noqa: F401

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.console import card
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.plugins import use_plugins
from sceneleapultra.utils.core.resources import GIB, free_main_memory, workers_per_process

if TYPE_CHECKING:
    from sceneleapultra.models.memory.plan import Planned, Way
    from sceneleapultra.models.memory.step import StepMemory


@dataclass(frozen=True)
class Target:
    """What a training is planned for: a kind of device, ``cpu`` or ``cuda``, and its bytes."""

    name: str
    kind: str
    memory: int


def target_of(cfg: DictConfig) -> Target:
    """Return the device that is planned for.

    Raises:
        ValueError: an unknown card, one and a size that differ, or no device whose memory is known.
    """
    if cfg.gpu is not None and cfg.gpu not in cfg.gpus:
        raise ValueError(
            f"{unknown_name('gpu', str(cfg.gpu), cfg.gpus)} Or pass gpu_gib=<its memory in GiB>."
        )
    sizes = {
        "gpu": cfg.gpus[cfg.gpu] if cfg.gpu else None,
        "gpu_gib": cfg.gpu_gib,
        "hardware.gpu_gib": cfg.hardware.gpu_gib,
    }
    known = {key: size for key, size in sizes.items() if size is not None}
    if bad := [
        f"{key}={size}" for key, size in known.items() if not isinstance(size, int | float) or size <= 0
    ]:
        raise ValueError(f"{bad[0]}: expected the memory of a GPU in GiB, for example 24.")
    if known:
        key, size = next(iter(known.items()))
        return Target(cfg.gpu or f"a GPU of {size:g} GiB ({key})", "cuda", int(size * GIB))
    import torch

    if cfg.hardware.accelerator != "cpu" and torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Target(f"{torch.cuda.get_device_name()}, what is free of it", "cuda", free)
    available = free_main_memory()
    if available is None:
        raise ValueError(
            "This machine does not say how much memory is free. Pass gpu=<a card> or gpu_gib=<its memory in GiB>."
        )
    return Target("this machine's main memory, what is free of it", "cpu", available)


def plan(cfg: DictConfig) -> tuple[Planned, Target]:
    """Return what is planned, for what."""
    from sceneleapultra.utils.training.validate import validate

    target = target_of(cfg)
    if target.kind == "cuda" and OmegaConf.is_interpolation(cfg.hardware, "precision"):
        cfg.hardware.precision = "bf16-mixed"  # as the presets choose where there is a GPU
    validate(cfg)
    use_plugins(cfg.plugins)
    from sceneleapultra.models.memory.plan import Planned

    return Planned.of(cfg, target.kind), target


def print_plan(planned: Planned, target: Target) -> None:
    """Print what a step needs, and the ways to compute it that fit."""
    cfg, scenes = planned.cfg, planned.scenes
    memory, savings = planned.trace(scenes), planned.savings()
    ways = planned.ways(target.memory)
    part, held = next(iter(memory.by_part.items()))
    rows = {
        "device": f"{target.name}: {target.memory / GIB:.1f} GiB, precision {cfg.trainer.precision}",
        "batch": f"{scenes} scenes x {cfg.trainer.accumulate_grad_batches} accumulated, on each device",
        "weights": f"{_mb(memory.weights)}, gradients {_mb(memory.gradients)}, optimizer {_mb(memory.optimizer)}, "
        f"averages {_mb(memory.averages)}, scenes {_mb(memory.batch)}",
        "computing": f"{_mb(memory.computing)}: {', '.join(f'{n} {_mb(b)}' for n, b in _largest(memory))}",
        "peak": f"{planned.need(memory, 1) / GIB:.2f} GiB in one pass" + _overhead(target),
        "holds most": f"{part}, {100 * held / memory.computing:.0f} % of computing",
        "recomputing": "; ".join(f"{name} saves {_mb(max(0, saved))}" for name, saved in savings.items())
        or "nothing of this model can",
        "loader": _loader(planned, memory),
        **{f"way {i}": _described(way) for i, way in enumerate(ways, 1)},
    }
    best = ways[0]
    settings = [f"hardware.passes={best.passes}", f"hardware.recompute=[{','.join(best.recomputed)}]"]
    card(f"plan of {cfg.name}", rows, {"way 1": " ".join(settings)})


def _largest(memory: StepMemory) -> list[tuple[str, int]]:
    return list(memory.by_part.items())[:5]


def _described(way: Way) -> str:
    recomputed = f"recomputing {' and '.join(way.recomputed)}" if way.recomputed else "recomputing nothing"
    return f"{way.passes} pass{'es' if way.passes > 1 else ''}, {recomputed}: {way.need / GIB:.2f} GiB"


def _overhead(target: Target) -> str:
    return ", with 0.6 GiB for CUDA and a tenth for the allocator" if target.kind == "cuda" else ""


def _loader(planned: Planned, memory: StepMemory) -> str:
    loading = OmegaConf.select(planned.cfg, "data.loading")
    if loading is None:  # of a completion
        workers = planned.cfg.data.workers
        return f"{workers} processes of at most 3 batches: {_mb(workers * 3 * memory.batch)} of main memory"
    workers = workers_per_process(loading.workers, 1)
    ahead = 2 if loading.prefetch == "auto" else loading.prefetch
    total = workers * (loading.cache_mb * 2**20 + (ahead + 1) * memory.batch)
    each = f"at most {loading.cache_mb} MB cache and {ahead + 1} batches"
    return f"{workers} processes of {each}: {_mb(total)} of main memory"


def _mb(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 10 * 2**20 else f"{size / 2**20:.1f} MB"


@hydra_program("plan")
def main(cfg: DictConfig) -> None:
    """Plan the training that ``config/`` and the command line describe."""
    print_plan(*plan(cfg))


if __name__ == "__main__":
    main()
