"""Sampling as one CUDA graph: all its launches recorded once for a size, then repeated without the host.

On a GPU a call of these networks is bound by its launches. Encoding, the solver's steps, decoding and scores are
captured together; what differs between calls, clouds and random numbers, is copied into tensors that the graph reads. A
graph is of fixed sizes: requests are padded to the next one.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import GeneratedGrasps
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.ranking import LearnedRank
from sceneleapultra.models.sampling import SampleRandom, SamplingRun, StartPoint, choose_anchors
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.batch import GraspBatch

Call = Callable[[], GeneratedGrasps]
_WARM_UPS = 3  # calls before a capture: libraries choose their kernels and take their memory in them


class GraphedSampler:
    """Samples what :meth:`~sceneleapultra.models.generator.GraspGenerator.sample` does, by one graph for each size.

    Memory of a graph is kept for as long as the sampler. Weights may be changed in place, not exchanged.

    Args:
        generator: what samples.
        sampling: instead of the generator's own; a mapping changes that by name.
        scenes: sizes of batches that there are graphs for, ascending.
        grasps: grasps of each scene, likewise.
        record: makes of a call what repeats it.

    Raises:
        ValueError: the sampling cannot be captured, with the reason.
    """

    def __init__(
        self,
        generator: GraspGenerator,
        sampling: SamplingConfig | Mapping[str, Any] | None = None,
        *,
        scenes: Sequence[int] = (1, 2, 4, 8, 16),
        grasps: Sequence[int] = (16, 32, 64, 100, 128, 256),
        record: Callable[[Call], Call] | None = None,
    ) -> None:
        if sampling is None or isinstance(sampling, Mapping):
            sampling = generator.sampling.changed(**(sampling or {}))
        reason = why_not_captured(generator, sampling)
        if record is None and reason is None and generator.device.type != "cuda":
            reason = f"the model is on {generator.device.type}; load it with device=cuda"
        if reason is not None:
            raise ValueError(
                f"Sampling as a CUDA graph: {reason}. Or use generator.sample, which needs none."
            )
        self.generator, self.config = generator, sampling
        self.scenes, self.grasps = tuple(scenes), tuple(grasps)
        self._record = capture if record is None else record
        self._made: dict[tuple[int, ...], Recorded] = {}

    @torch.no_grad()
    def __call__(self, batch: GraspBatch, num_grasps: int, *, seeds: Sequence[int]) -> GeneratedGrasps:
        """Generate grasps for each scene of a batch.

        Args:
            batch: scenes.
            num_grasps: grasps of each.
            seeds: of anchors and noise, one per scene.

        Raises:
            ValueError: seeds that are not one per scene; prompts; more scenes or grasps than the largest size.
        """
        if len(seeds) != batch.size:
            raise ValueError(f"seeds: expected one per scene, {batch.size}, got {len(seeds)}.")
        if any(batch.positive_prompt) or any(batch.negative_prompts):
            raise ValueError("Sampling as a CUDA graph takes no prompts: use generator.sample.")
        size = _next(self.scenes, batch.size, "scenes"), _next(self.grasps, num_grasps, "grasps")
        clouds = _clouds(batch)
        key = (*size, clouds.scene_pc.shape[1], clouds.scene_rgb is not None)
        if key not in self._made:
            self._made[key] = Recorded(self.generator, self.config, clouds, size, self._record)
        rng = SampleRandom(seeds, self.generator.device)
        numbers = Numbers(
            rng.gumbel(num_grasps, self.generator.encoder.num_tokens),
            rng(clouds.scene_pc.new_empty(batch.size, num_grasps, self.generator.dim_input)),
        )
        return self._made[key](clouds, numbers)


@dataclass(frozen=True)
class Numbers:
    """The random numbers of a call, drawn before it."""

    of_anchors: Float[Tensor, "b k s"]
    noise: Float[Tensor, "b k d"]

    def gumbel(self, count: int, choices: int) -> Float[Tensor, "b k s"]:
        """Return the numbers of the choice of anchors."""
        assert self.of_anchors.shape[1:] == (count, choices)
        return self.of_anchors

    def __call__(self, like: Tensor) -> Tensor:
        """Refuse to draw another number."""
        raise ValueError(
            "Sampling as a CUDA graph: the solver draws noise on its way, and a graph would repeat the same. Pass a "
            "solver that draws none, as solver=ddim with eta=0."
        )


class Recorded:
    """A call of one size: the tensors that it reads, and what repeats it.

    Args:
        generator: what samples.
        config: how.
        clouds: scenes to begin with; what a later call does not fill stays theirs, which no result shows.
        size: scenes and grasps.
        record: makes of a call what repeats it.
    """

    def __init__(
        self,
        generator: GraspGenerator,
        config: SamplingConfig,
        clouds: GraspBatch,
        size: tuple[int, int],
        record: Callable[[Call], Call],
    ) -> None:
        self.generator, self.config = generator, config
        scenes, grasps = size
        rows = torch.arange(scenes, device=generator.device).clamp(max=clouds.size - 1)
        self.clouds = clouds.map(lambda x: x[rows])
        shape, like = (scenes, grasps), clouds.scene_pc
        self.numbers = Numbers(
            like.new_zeros(*shape, generator.encoder.num_tokens), like.new_zeros(*shape, generator.dim_input)
        )
        self.set_id = torch.zeros(shape, dtype=torch.long, device=like.device)
        self._call = record(self._run)

    def __call__(self, clouds: GraspBatch, numbers: Numbers) -> GeneratedGrasps:
        """Fill the tensors, repeat the call, and return copies of what it made for these scenes."""
        b, k = numbers.noise.shape[:2]
        for mine, source in ((self.clouds, clouds), (self.numbers, numbers)):
            for name in (f.name for f in fields(mine)):
                if isinstance(value := getattr(source, name), Tensor):
                    getattr(mine, name)[tuple(map(slice, value.shape))].copy_(value)
        self.set_id[:, :k], self.set_id[:, k:] = 0, -1  # padding is a set of its own
        made = self._call()
        columns = {f.name: getattr(made, f.name) for f in fields(made)}
        cut: dict[str, Any] = {n: x[:b, :k].clone() for n, x in columns.items() if isinstance(x, Tensor)}
        return replace(made, **cut)

    def _run(self) -> GeneratedGrasps:
        numbers, config = self.numbers, self.config
        run = SamplingRun(self.generator, self.clouds, config, numbers)
        index = choose_anchors(run.scene, numbers.noise.shape[1], config.anchor_temperature, numbers)
        return run.solve(StartPoint(index, numbers.noise, self.set_id), trajectory=False)


def why_not_captured(generator: GraspGenerator, config: SamplingConfig) -> str | None:
    """Say what of a model or its sampling a graph cannot hold; None where all of it can."""
    guidance, solver = config.guidance, config.solver
    for encoder in generator.encoder.modules():
        if isinstance(encoder, SceneEncoder) and not encoder.static_shapes:
            return f"the sizes inside {type(encoder).__name__} depend on the cloud; a graph's are fixed"
    if generator.conditioning.conditions:
        return f"the model reads {', '.join(generator.conditioning.conditions)}, words, on the host"
    if guidance.scorer is not None or guidance.physics is not None or guidance.classifier_free.scale != 1.0:
        return "guidance is on; pass sampling guidance=none and cfg_scale=1"
    if type(config.rank) is not LearnedRank:
        return f"rank={type(config.rank).__name__} is more than a network's output; pass rank=score"
    if generator.process.evaluation_times(solver, generator.normalizer.mean) is None:
        return f"solver={solver.name} chooses its steps on the way; pass solver=ddim"
    return None


def capture(run: Call) -> Call:
    """Return what replays a call as one CUDA graph; its results are the same tensors each time."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = run()

    def replay() -> GeneratedGrasps:
        graph.replay()
        return made

    return replay


def _clouds(batch: GraspBatch) -> GraspBatch:
    """Return what an encoder reads of a batch, and nothing else."""
    columns = ("scene_pc", "point_valid", "object_mask", "viewpoint", "up", "T_world_frame", "scene_rgb")
    return GraspBatch(**{name: getattr(batch, name) for name in columns})


def _next(sizes: Sequence[int], number: int, what: str) -> int:
    at = bisect_left(sizes, number)
    if at == len(sizes):
        raise ValueError(
            f"Sampling as a CUDA graph: expected at most {sizes[-1]} {what}, got {number}. Pass {what}=(..., {number})."
        )
    return sizes[at]
