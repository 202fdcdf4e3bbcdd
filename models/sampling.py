"""From a batch of scenes to grasp triples with scores: choose anchors, solve from noise, decode, rank."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.models.diffusion.solvers import NoiseSource
from sceneleapultra.models.guidance.anchors import prompt_anchors
from sceneleapultra.models.guidance.guide import (
    PROMPT,
    Guidance,
    Guide,
    Predict,
    build_guide,
    check_negatives,
)
from sceneleapultra.models.guidance.learned import BoundScore
from sceneleapultra.models.network.context import GeneratedGrasps, SceneContext
from sceneleapultra.models.network.heads.graspness import weigh_anchors
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.ranking import Unranked
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.keyed_random import KeyedRandom, stream_key
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.geometry.voxels.field import SceneField

if TYPE_CHECKING:
    from sceneleapultra.models.generator import GraspGenerator

_STREAMS = ("anchors", "normal 1")
_TINY = 1e-7  # keeps the logarithms of a Gumbel number finite


@runtime_checkable
class GumbelSource(Protocol):
    """Gives the random numbers of the choice of anchors."""

    def gumbel(self, count: int, choices: int) -> Float[Tensor, "b c s"]:
        """Return standard Gumbel numbers."""


class SampleRandom:
    """The random numbers of sampling: those of each scene depend on its own seed alone, on every device.

    Args:
        seeds: one per scene.
        device: where the numbers are.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        # Keys of the streams that every sampling draws from, beside each seed's own, in one tensor.
        rows = [(key, *(stream_key(key, name) for name in _STREAMS)) for key in map(keyed_seed, seeds)]
        keys = torch.tensor(rows, dtype=torch.int64).to(device)
        own, *first = map(KeyedRandom, keys.unbind(1))
        self._random, self._first, self._calls = own, dict(zip(_STREAMS, first, strict=True)), 0

    def __call__(self, like: Float[Tensor, "b *d"]) -> Float[Tensor, "b *d"]:
        """Return standard normal numbers of the shape and type of a tensor; every call other ones."""
        self._calls += 1
        return self._stream(f"normal {self._calls}").normal(*like.shape[1:]).to(like)

    def gumbel(self, count: int, choices: int) -> Float[Tensor, "b c s"]:
        """Return standard Gumbel numbers."""
        uniform = self._stream("anchors").uniform(count, choices)
        return -torch.log(-torch.log(uniform.clamp(_TINY, 1.0 - _TINY)))

    def _stream(self, name: str) -> KeyedRandom:
        return self._first[name] if name in self._first else self._random.stream(name)


@dataclass(frozen=True)
class StartPoint:
    """Where sampling starts: the anchors of the grasps and their noise."""

    index: Int[Tensor, "b k"]
    noise: Float[Tensor, "b k d"]  # standard normal
    set_id: Int[Tensor, "b k"] | None = (
        None  # of grasps that attend to one another, -1 for padding; None: all do
    )


@torch.no_grad()
def sample(
    generator: "GraspGenerator",
    batch: GraspBatch,
    num_grasps: int,
    config: SamplingConfig,
    seeds: Sequence[int],
    *,
    trajectory: bool,
    fields: Sequence[SceneField] | None,
) -> GeneratedGrasps:
    """Generate grasps; see :meth:`~sceneleapultra.models.generator.GraspGenerator.sample`."""
    if len(seeds) != batch.size:
        raise ValueError(f"seeds: expected one per scene, {batch.size}, got {len(seeds)}.")
    generator.process.check_solver(config.solver)
    check_negatives(batch.negative_prompts)
    if generator.device.type == "cpu" and batch.size > 1:
        # A matrix product of another height may be rounded otherwise on a CPU, where batches gain nothing.
        return _concatenate(
            [
                sample(
                    generator,
                    batch.item(i),
                    num_grasps,
                    config,
                    [seed],
                    trajectory=trajectory,
                    fields=None if fields is None else fields[i : i + 1],
                )
                for i, seed in enumerate(seeds)
            ]
        )
    rng = SampleRandom(seeds, generator.device)
    run = SamplingRun(generator, batch, config, rng, fields)
    index = choose_anchors(run.scene, num_grasps, config.anchor_temperature, rng)
    noise = rng(torch.empty(batch.size, num_grasps, generator.dim_input, device=generator.device))
    return run.solve(StartPoint(index, noise), trajectory=trajectory)


def choose_anchors(
    scene: SceneContext, num_grasps: int, temperature: float, rng: GumbelSource
) -> Int[Tensor, "b k"]:
    """Draw the target tokens that carry the grasps, with replacement, from their predicted probability."""
    logits = scene.outputs["anchors"] / temperature
    return (logits[:, None] + rng.gumbel(num_grasps, logits.shape[-1])).argmax(-1)


class SamplingRun:
    """One call of sampling: the scenes encoded, their anchors reweighted where guidance asks for it.

    Args:
        generator: what samples.
        batch: scenes.
        config: how.
        rng: of further noise that the solver draws.
        fields: completed scenes, for guidance; None where nothing is known but the clouds.

    Attributes:
        scene: the encoded scenes.
    """

    def __init__(
        self,
        generator: "GraspGenerator",
        batch: GraspBatch,
        config: SamplingConfig,
        rng: NoiseSource,
        fields: Sequence[SceneField] | None = None,
    ) -> None:
        self.generator, self.config, self._rng = generator, config, rng
        cloud, prompts = Cloud.of(batch), {PROMPT: batch.positive_prompt}
        self.opening = config.pregrasp_opening * generator.hand.closing
        self._guide: Callable[..., Guide] = partial(
            build_guide,
            generator,
            cloud=cloud,
            prompts=prompts,
            negatives=batch.negative_prompts,
            opening=self.opening,
            fields=fields,
        )
        guidance, scene = config.guidance, generator.encode(cloud)
        outputs = prompt_anchors(generator, scene, guidance.classifier_free, prompts, batch.negative_prompts)
        self.scene = replace(scene, outputs=weigh_anchors(outputs, config.graspness))
        self._anchor_nfe = 0
        if guidance.scorer is not None and guidance.scorer.anchors > 0.0:
            self._reweight_anchors(guidance)

    def solve(self, start: StartPoint, *, trajectory: bool) -> GeneratedGrasps:
        """Turn anchors and noise into ranked grasp triples."""
        generator, config = self.generator, self.config
        guide = self._guide(self.scene, start.index, config.guidance, set_id=start.set_id)
        samples = generator.process.solve(
            config.solver,
            guide.wrap(self._predict(start.noise)),
            start.noise,
            self._rng,
            trajectory=trajectory,
        )
        anchored = guide.anchored
        grasps = generator.decode(guide.correct(samples.x0), anchored)
        visited = None
        if samples.trajectory is not None:
            poses = [generator.grasps(x, anchored)[0] for x in samples.trajectory]
            visited = torch.stack([pose.to_hand_pose() for pose in poses])
        pose, squeeze = grasps.pose, grasps.squeeze_qpos
        low, high = generator.codec.joint_limits.unbind(-1)
        log_odds = generator.score_head(grasps, anchored.scene) if generator.has_score_head else None
        return GeneratedGrasps(
            hand_pose=pose.to_hand_pose(),
            pred_pose=pose.pack(),
            pregrasp_qpos=(pose.qpos - self.opening.to(pose.qpos)).clamp(low, high),
            squeeze_qpos=torch.lerp(pose.qpos, squeeze, config.squeeze_gain).clamp(low, high),
            score=config.rank.score(Unranked(generator, anchored, grasps, self._rng, log_odds)),
            log_odds=log_odds,
            nfe=self._anchor_nfe + guide.nfe,
            trajectory=visited,
        )

    def _predict(self, like: Float[Tensor, "b k d"]) -> Predict:
        """Return the network at the times of the solver, in their order: what it takes of them is computed at once."""
        generator = self.generator
        times = generator.process.evaluation_times(self.config.solver, like)
        if times is None:
            return generator.predict_x0
        levels = iter(generator.noise_level(times).rows())
        return lambda x_t, t, anchored: generator.predict_x0(x_t, t, anchored, next(levels))

    def _reweight_anchors(self, guidance: Guidance) -> None:
        """Try a grasp on each target token, from the middle of the noise and not corrected by any energy, and lower the
        logits of tokens by the energy of theirs.
        """
        assert guidance.scorer is not None
        generator = self.generator
        target = self.scene.tokens.target
        index = target.long().argsort(dim=1, descending=True, stable=True)
        if target.device.type == "cpu":  # a GPU would be waited for
            index = index[:, : int(target.sum(1).max())]
        own_sets = torch.arange(index.shape[1], device=index.device).expand_as(index)
        guide = self._guide(self.scene, index, replace(guidance, scorer=None, physics=None), set_id=own_sets)
        noise = torch.zeros(*index.shape, generator.dim_input, device=generator.device)
        x0 = generator.process.solve(
            self.config.solver, guide.wrap(self._predict(noise)), noise, self._rng, trajectory=False
        ).x0
        energy = BoundScore(guidance.scorer, generator, guide.anchored).energy(x0)
        outputs = self.scene.outputs
        logits = outputs["anchors"].scatter_add(1, index, -guidance.scorer.anchors * energy)
        self.scene = replace(self.scene, outputs={**outputs, "anchors": logits})
        self._anchor_nfe = guide.nfe


def _concatenate(parts: Sequence[GeneratedGrasps]) -> GeneratedGrasps:
    """Join grasps of single scenes to those of a batch."""
    columns = ("hand_pose", "pred_pose", "pregrasp_qpos", "squeeze_qpos", "score")
    odds = [part.log_odds for part in parts if part.log_odds is not None]
    trajectories = [part.trajectory for part in parts if part.trajectory is not None]
    return GeneratedGrasps(
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in columns},
        log_odds=torch.cat(odds) if odds else None,
        nfe=max(part.nfe for part in parts),
        trajectory=torch.cat(trajectories, dim=1) if trajectories else None,
    )
