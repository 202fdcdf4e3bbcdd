"""Which preset of ``config/hardware`` fits the memory that is free, and in how many passes a step fits into it.

Neither changes the batch or the learning rate: a preset says how a step is computed, not which.
"""

from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)

from sceneleapultra.models.memory.plan import Planned
from sceneleapultra.models.module import GraspModule
from sceneleapultra.models.passes import indivisible
from sceneleapultra.models.recomputing import able
from sceneleapultra.utils.core.config import load_group
from sceneleapultra.utils.core.resources import GIB, free_main_memory, holds

_PRESETS = ("h200", "high", "medium", "low")  # the largest first
_FEW = 2  # scenes that are traced to foretell more
_SURE = 0.7  # share of the memory up to which what few scenes foretell is enough
_UNTRACEABLE = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)


@dataclass(frozen=True)
class Choice:
    """How steps are computed, and why."""

    passes: int
    max_passes: int
    recompute: list[str]
    reason: str


def choose(cfg: DictConfig, model: GraspModule, device: torch.device) -> Choice:
    """Return what ``hardware=auto`` means here and now.

    Raises:
        ValueError: a single scene does not fit.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_main_memory()
    if free is None:
        return Choice(1, 1, [], "not planned: this machine does not say what is free")
    name, settings = preset_for(free, device.type)
    recomputed = [part for part in settings.recompute if part in able(model.generator)]
    most = int(settings.max_passes)
    where = f"{free / GIB:.1f} GiB free, hardware={name}"
    whole = (
        "callbacks.term_gradients" if OmegaConf.select(cfg, "callbacks.term_gradients") is not None else None
    )
    whole = whole or indivisible(model.objective, model)
    planned = Planned.of(cfg, device.type)
    if whole is not None or not planned.known:
        why = (
            f"{whole} needs steps computed at once"
            if whole
            else "these data are not known to `sceneleap plan`"
        )
        return Choice(1, 1, recomputed, f"{where}; not planned: {why}")
    with torch.random.fork_rng(devices=[]):
        try:
            passes, need = fewest_passes(planned, free, recomputed)
        except _UNTRACEABLE as error:
            return Choice(
                1, most, recomputed, f"{where}; not planned: no step can be traced ({type(error).__name__})"
            )
    extra = f", recomputing {' and '.join(recomputed)}" if recomputed else ""
    return Choice(
        passes,
        most,
        recomputed,
        f"{where}; a step needs about {need / GIB:.2f} GiB in {passes} pass{'es' if passes > 1 else ''}{extra} "
        "(`sceneleap plan`)",
    )


def preset_for(free: int, kind: str) -> tuple[str, Any]:
    """Return the largest preset whose GPU has no more than is free, or the smallest there is; ``cpu`` for a CPU."""
    if kind == "cpu":
        return "cpu", load_group("hardware", "cpu")
    presets = {name: load_group("hardware", name) for name in _PRESETS}
    fitting = [name for name, preset in presets.items() if holds(free, preset.gpu_gib)]
    name = [*fitting, _PRESETS[-1]][0]
    return name, presets[name]


def fewest_passes(planned: Planned, free: int, recomputed: list[str]) -> tuple[int, int]:
    """Return the fewest passes that fit, and the bytes they need.

    A step of few scenes foretells one of many, because all but weights grows with them; only what comes near the limit
    is traced as a whole.
    """
    scenes = planned.scenes
    if scenes > 2 * _FEW:
        one, two = planned.trace(_FEW, recomputed), planned.trace(2 * _FEW, recomputed)
        growth = (two.always + two.computing - one.always - one.computing) / _FEW
        peak = max(one.peak, int(one.always + one.computing + growth * (scenes - _FEW)))
        need = planned.with_overhead(peak)
        if need <= _SURE * free:
            return 1, need
    way = planned.way(free, recomputed)
    return way.passes, way.need
