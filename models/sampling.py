"""From an encoded scene to grasp triples with scores: what sampling is for every generative model."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.hands import Hand
from sceneleapultra.models.denoiser import Anchored, Denoiser, SceneContext
from sceneleapultra.models.diffusion.likelihood import FlowRank
from sceneleapultra.models.diffusion.samplers import Sampler, Samples
from sceneleapultra.models.guidance.guide import Guidance, Guide, make_guide
from sceneleapultra.models.guidance.learned import BoundScorer
from sceneleapultra.models.network.scorer.base import GraspScorer, finished, success_log_odds
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.batch import GraspBatch

Rank = FlowRank | Literal["hold"] | None


@dataclass(frozen=True)
class GeneratedGrasps:
    """Grasps of a batch of scenes, in the frame of each cloud."""

    hand_pose: Float[Tensor, "b k p"]  # [translation, joints, quaternion wxyz]
    pred_pose: Float[Tensor, "b k d"]  # [translation, joints, rot6d]
    pregrasp_qpos: Float[Tensor, "b k j"]
    squeeze_qpos: Float[Tensor, "b k j"]
    score: Float[Tensor, "b k"]  # log-odds of success, or what another rank orders by
    nfe: int  # evaluations of the network, every branch of guidance counted
    trajectory: Float[Tensor, "n b k p"] | None  # hand poses after every step, if asked for


class GraspSampling(pl.LightningModule):
    """The half of a model that samples: a subclass builds the parts and says how states come from noise.

    Attributes:
        anchor_temperature: flattens (> 1) or sharpens (< 1) the choice of anchors.
        pregrasp_opening: how far the flexion joints open from grasp to pre-grasp (rad).
        squeeze_gain: factor on the predicted squeeze.
    """

    hand: Hand
    denoiser: Denoiser
    scorer: GraspScorer
    sampler: Sampler
    anchor_temperature: float
    pregrasp_opening: float
    squeeze_gain: float

    @torch.no_grad()
    def forward_infer(
        self,
        batch: GraspBatch,
        k: int,
        *,
        sampler: Sampler | None = None,
        guidance: Guidance | None = None,
        seed: int = 0,
        generator: torch.Generator | None = None,
        trajectory: bool = False,
        rank: Rank = None,
    ) -> GeneratedGrasps:
        """Generate ``k`` grasps per scene; ground truth is neither needed nor read.

        Args:
            batch: scenes.
            k: grasps of each.
            sampler: instead of the model's own.
            guidance: what steers it; None for nothing.
            seed: of anchors and noise.
            generator: of anchors and noise instead, on the model's device.
            trajectory: whether to return the poses after every step of the sampler.
            rank: score the grasps by the learned log-odds of success (None), by those of holding alone (``hold``),
                or by their flow.

        Raises:
            ValueError: a sampler, a prompt or a guidance that this model cannot be sampled with.
        """
        sampler = sampler or self.sampler
        generator = generator or torch.Generator(self.device).manual_seed(seed)
        cloud = cloud_of(batch)
        scene, tried = self.denoiser.encode(cloud), 0
        steer = partial(
            make_guide,
            self.denoiser,
            self.scorer,
            cloud=cloud,
            said={"positive_prompt": batch.positive_prompt},
            negatives=batch.negative_prompts,
            opening=self.pregrasp_opening * self.hand.flexion_sign,
        )
        if guidance is not None and guidance.scorer is not None and guidance.scorer.anchors > 0.0:
            scene, tried = self._with_doubted_anchors(scene, guidance, sampler, generator, steer)
        guide = steer(scene, self.sample_anchors(scene, k, generator), guidance)
        noise = torch.randn(batch.size, k, self.denoiser.dim_input, generator=generator, device=self.device)
        samples = self.sample_states(guide, noise, sampler, generator, trajectory=trajectory)
        samples = replace(samples, x0=guide.finished(samples.x0))
        made = self._finish(samples, guide, by_hold=rank == "hold")
        made = replace(made, nfe=tried + made.nfe)
        if not isinstance(rank, FlowRank):
            return made
        # Each grasp as a set of its own, so that its likelihood is that of a grasp.
        index = guide.anchored.index
        alone = self.denoiser.anchor(
            guide.anchored.scene, index, torch.arange(k, device=index.device).expand_as(index)
        )
        return replace(made, score=self.flow_score(samples.x0, alone, rank, generator))

    @abstractmethod
    def sample_states(
        self,
        guide: Guide,
        noise: Float[Tensor, "b k d"],
        sampler: Sampler,
        generator: torch.Generator,
        *,
        trajectory: bool,
    ) -> Samples:
        """Turn unit noise into clean normalized states of grasps on their anchors."""

    @abstractmethod
    def flow_score(
        self, states: Float[Tensor, "b k d"], alone: Anchored, rank: FlowRank, generator: torch.Generator
    ) -> Float[Tensor, "b k"]:
        """Return how likely the model finds clean states."""

    def sample_anchors(self, scene: SceneContext, k: int, generator: torch.Generator) -> Int[Tensor, "b k"]:
        """Draw the target tokens that carry the grasps, from their learned probability."""
        probability = torch.softmax(scene.anchor_logits / self.anchor_temperature, dim=-1)
        return torch.multinomial(probability, k, replacement=True, generator=generator)

    def _with_doubted_anchors(
        self,
        scene: SceneContext,
        guidance: Guidance,
        sampler: Sampler,
        generator: torch.Generator,
        steer: Callable[..., Guide],
    ) -> tuple[SceneContext, int]:
        """Try a grasp on each target token, from the middle of the noise and not moved by any energy, and make tokens
        less likely by how much the scorer doubts it; return the number of evaluations that took, too.
        """
        assert guidance.scorer is not None
        target = scene.tokens.target
        index = target.long().argsort(dim=1, descending=True, stable=True)[:, : int(target.sum(1).max())]
        guide = steer(scene, index, replace(guidance, scorer=None, physics=None), alone=True)
        noise = torch.zeros(*index.shape, self.denoiser.dim_input, device=self.device)
        x0 = self.sample_states(guide, noise, sampler, generator, trajectory=False).x0
        doubt = BoundScorer(guidance.scorer, self.scorer, self.denoiser, guide.anchored).doubt(x0)
        logits = scene.anchor_logits.scatter_add(1, index, -guidance.scorer.anchors * doubt)
        return replace(scene, anchor_logits=logits), guide.nfe

    def _finish(self, samples: Samples, guide: Guide, *, by_hold: bool) -> GeneratedGrasps:
        """Turn clean states into grasp triples with scores."""
        states, anchored, trajectory = samples.x0, guide.anchored, None
        grasps = finished(self.denoiser, states, anchored)
        pose, squeeze = grasps.pose, grasps.squeeze_qpos
        if samples.trajectory is not None:
            visited = [self.denoiser.grasps(x, anchored)[0] for x in samples.trajectory]
            trajectory = torch.stack([pose.to_hand_pose() for pose in visited])
        parts = self.scorer(grasps, anchored.scene)
        low, high = self.denoiser.codec.joint_limits.unbind(-1)
        opened = pose.qpos - self.pregrasp_opening * self.hand.flexion_sign.to(pose.qpos)
        squeezed = pose.qpos + self.squeeze_gain * (squeeze - pose.qpos)
        return GeneratedGrasps(
            hand_pose=pose.to_hand_pose(),
            pred_pose=pose.pack(),
            pregrasp_qpos=opened.clamp(low, high),
            squeeze_qpos=squeezed.clamp(low, high),
            score=parts[..., 0] if by_hold else success_log_odds(parts),
            nfe=guide.nfe,
            trajectory=trajectory,
        )


def cloud_of(batch: GraspBatch) -> Cloud:
    """Return what the encoder reads of a batch."""
    return Cloud(
        points=batch.scene_pc,
        valid=batch.point_valid,
        target=batch.object_mask & batch.point_valid,
        viewpoint=batch.viewpoint,
        up=batch.up,
        rgb=None if batch.scene_rgb is None else batch.scene_rgb.to(torch.float32) / 255.0,
    )
