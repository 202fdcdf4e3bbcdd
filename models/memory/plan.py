"""A plan of memory: what a training step needs, and how it is computed in less."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sceneleapultra.models.memory.scenes import example_batch, example_voxels
from sceneleapultra.models.memory.step import StepMemory, trace_step
from sceneleapultra.models.module import GraspModule, build_module
from sceneleapultra.models.recomputing import able, recompute
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import build
from sceneleapultra.utils.core.resources import GIB
from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings

_DRIVER = int(0.6 * GIB)  # of a GPU, what CUDA and its libraries take before the first tensor
_ALLOCATOR = 1.1  # what torch's allocator of GPU memory holds, over what is asked for


@dataclass(frozen=True)
class Way:
    """A way to compute a step.

    Attributes:
        recomputed: parts that recompute in the backward pass.
        passes: over parts of the batch.
        need: bytes of the device.
    """

    recomputed: tuple[str, ...]
    passes: int
    need: int


@dataclass(frozen=True)
class Planned:
    """A configuration of training whose memory is to be known, on a kind of device: ``cpu`` or ``cuda``."""

    cfg: DictConfig
    data: Any
    device: str
    _traced: dict[tuple[int, tuple[str, ...]], StepMemory] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, cfg: DictConfig, device: str) -> "Planned":
        """Take a configuration of ``train_lightning.py``."""
        cfg = copy.deepcopy(cfg)
        OmegaConf.set_readonly(cfg, False)
        if OmegaConf.select(cfg, "model.generator.compile"):
            cfg.model.generator.compile = False  # what is compiled cannot be traced
        return cls(cfg, build(cfg.data), device)

    @property
    def scenes(self) -> int:
        """Scenes of a step, on each device."""
        return int(self.cfg.data.batch_size)

    def make_module(self, recomputed: Sequence[str] = ()) -> GraspModule:
        """Build what is trained."""
        parts = {name: build(self.cfg[name]) for name in ("optimizer", "scheduler")}
        module = build_module(self.cfg.model, cloud=self.data.cloud, **parts)
        recompute(module.generator, recomputed)
        return module

    @property
    def known(self) -> bool:
        """Whether the sizes of the data can be told."""
        return self._voxels is not None or hasattr(self.data, "settings")

    @property
    def _voxels(self) -> VoxelSettings | None:
        """The grids of a completion; None for clouds."""
        return getattr(self.data, "voxels", None)

    def batch(self, scenes: int) -> GraspBatch | VoxelBatch:
        """Return as many scenes, of the sizes that the data have."""
        if self._voxels is not None:
            return example_voxels(self._voxels, scenes)
        settings = self.data.settings
        return example_batch(
            self.data.hand,
            scenes=scenes,
            points=settings.cloud.num_points,
            grasps=settings.grasps.number + settings.grasps.failures,
            radius=settings.cloud.crop_radius,
            colors=settings.colors,
            prompts=self.data.prompt != "none",
        )

    def trace(self, scenes: int, recomputed: Sequence[str] = ()) -> StepMemory:
        """Return the memory of a pass over so many scenes."""
        key = (scenes, tuple(recomputed))
        if key not in self._traced:
            self._traced[key] = trace_step(
                lambda: self.make_module(recomputed),
                self.batch(scenes),
                precision=str(self.cfg.trainer.precision),
                device=self.device,
                averaged=OmegaConf.select(self.cfg, "callbacks.ema") is not None,
            )
        return self._traced[key]

    def need(self, memory: StepMemory, passes: int) -> int:
        """Return what the device must have for a pass; sums of gradients are kept beside those of several passes."""
        return self.with_overhead(memory.peak + (memory.gradients if passes > 1 else 0))

    def with_overhead(self, held: int) -> int:
        """Return what the device must have for so many bytes of tensors."""
        return held if self.device == "cpu" else _DRIVER + int(_ALLOCATOR * held)

    def way(self, limit: int, recomputed: Sequence[str]) -> Way:
        """Return the fewest passes, a power of two, that need no more than ``limit`` bytes.

        Raises:
            ValueError: a single scene needs more.
        """
        passes = 1
        while (need := self.need(self.trace(-(-self.scenes // passes), recomputed), passes)) > limit:
            if passes >= self.scenes:
                raise ValueError(
                    f"A single scene needs {need / GIB:.2f} GiB to train on, more than the {limit / GIB:.2f} there "
                    "are. Lower data.cloud.num_points or data.grasps.number (of a completion data.cloud.size), or take "
                    "a smaller model."
                )
            passes = min(2 * passes, self.scenes)
        return Way(tuple(recomputed), passes, need)

    def ways(self, limit: int) -> list[Way]:
        """Return ways that fit, the fastest first: recomputing costs a third, each doubling of passes twice as much.

        Raises:
            ValueError: see :meth:`way`.
        """
        names = tuple(self.savings())
        choices = [(), *((name,) for name in names), *([names] if len(names) > 1 else [])]
        found = [self.way(limit, parts) for parts in choices]
        return sorted(found, key=lambda way: (way.passes, len(way.recomputed), way.need))

    def savings(self) -> dict[str, int]:
        """Return what each part saves of a step in one pass when it recomputes, in bytes; the largest first."""
        plain = self.trace(self.scenes).peak
        names = able(self.make_module().generator)
        saved = {name: plain - self.trace(self.scenes, (name,)).peak for name in names}
        return dict(sorted(saved.items(), key=lambda pair: -pair[1]))
