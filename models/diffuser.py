"""Diffusion and flow models: the loss of a noised set of grasps, and samplers around the denoiser.

How they learn is in ``learning.py``, the network in ``denoiser.py``.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import load_hand
from sceneleapultra.models.denoiser import Anchored, Denoiser, Representation
from sceneleapultra.models.density import DensityConsistency
from sceneleapultra.models.diffusion.likelihood import FlowRank, log_likelihood
from sceneleapultra.models.diffusion.path import Path, Prediction
from sceneleapultra.models.diffusion.samplers import Sampler, Samples
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.guidance.guide import Guide
from sceneleapultra.models.learning import Draws, GraspLearning
from sceneleapultra.models.losses import group_losses, masked_mean
from sceneleapultra.models.network.conditions.base import Condition
from sceneleapultra.models.network.decoder.base import DecoderConfig
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.scorer.base import ScorerConfig
from sceneleapultra.utils.training.pose_statistics import Statistics


class GraspDiffuser(GraspLearning):
    """Learns to generate grasp triples for the target object of a scene.

    Args:
        hand: name of the hand.
        encoder: scene encoder.
        path: noise process.
        prediction: what the network outputs.
        weighting: how much each noise level counts.
        sampler: default sampler.
        representation: frame of the pose vector, see :class:`~sceneleapultra.models.denoiser.Denoiser`.
        reference_depth: distance of the pose's reference point in front of the palm (m).
        contact_points: see :class:`~sceneleapultra.models.denoiser.Denoiser`.
        decoder: the decoder, see ``config/model/decoder``.
        conditions: what the model is told beside the scene, see ``config/model/conditions``.
        scene_drop_prob: share of training scenes that the decoder does without, for classifier-free guidance.
        color_drop_prob: share of training scenes whose colors the encoder does without; above 0 the model takes clouds
            without colors, too.
        compile: whether the denoiser runs through torch.compile.
        scorer: what ranks grasps, see ``config/model/scorer``.
        anchor_softness: standard deviation of the choice among anchors near a grasp (m).
        anchor_reach: grasps further than this from every visible target token are not trained on (m).
        anchor_temperature: flattens (> 1) or sharpens (< 1) the choice of anchors when sampling.
        pregrasp_opening: how far the flexion joints open from grasp to pre-grasp (rad).
        squeeze_gain: factor on the predicted squeeze when grasps are generated.
        num_grasps: successful grasps per scene in a training batch; what follows them are failures for the
            scorer.
        loss_weights: by pose group, and ``anchor`` and ``score``.
        density: how a model is taught to say the same of a thin cloud, see :mod:`models.density`; None: not taught.
        seed: of all noise, together with the step and the item.
        optimizer: partial of an optimizer over parameter groups; None for inference.
        scheduler: partial of a learning-rate schedule over an optimizer; None for inference.
    """

    distilled = False  # whether the network answers with the end of a trajectory instead of the mean

    def __init__(
        self,
        *,
        hand: str,
        encoder: SceneEncoder,
        path: Path,
        prediction: Prediction,
        weighting: LossWeighting,
        sampler: Sampler,
        representation: Representation,
        reference_depth: float,
        contact_points: int | None,
        decoder: DecoderConfig,
        conditions: dict[str, Condition],
        scene_drop_prob: float,
        color_drop_prob: float,
        compile: bool,
        scorer: ScorerConfig,
        anchor_softness: float,
        anchor_reach: float,
        anchor_temperature: float,
        pregrasp_opening: float,
        squeeze_gain: float,
        num_grasps: int,
        loss_weights: dict[str, float],
        density: DensityConsistency | None,
        seed: int,
        optimizer: Callable[..., Any] | None,
        scheduler: Callable[..., Any] | None,
    ) -> None:
        path.check(prediction)
        weighting.check(path)
        self.check_sampler(sampler, path)
        super().__init__(
            denoiser=Denoiser(
                hand=load_hand(hand),
                encoder=encoder,
                representation=representation,
                reference_depth=reference_depth,
                contact_points=contact_points,
                decoder=decoder,
                conditions=conditions,
                scene_drop_prob=scene_drop_prob,
                color_drop_prob=color_drop_prob,
                latent_dim=None,
                compiled=compile,
            ),
            scorer=scorer,
            anchor_softness=anchor_softness,
            anchor_reach=anchor_reach,
            anchor_temperature=anchor_temperature,
            pregrasp_opening=pregrasp_opening,
            squeeze_gain=squeeze_gain,
            num_grasps=num_grasps,
            loss_weights=loss_weights,
            own_terms=(),
            density=density,
            seed=seed,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        self.path, self.prediction, self.weighting, self.sampler = path, prediction, weighting, sampler

    # Training

    def state_losses(
        self,
        x0: Float[Tensor, "b g d"],
        draws: Draws,
        anchored: Anchored,
        valid: Bool[Tensor, "b g"],
        student: Anchored | None = None,
    ) -> dict[str, Tensor]:
        """Return the denoising loss of clean normalized states, by pose group, and what a student says else."""
        t = self.path.training_time(draws.t)
        eps = self.path.coupled(x0, draws.eps, anchored.index, valid)
        x_t = self.path.noised(x0, eps, t)
        x0_hat = self.predicted_x0(x_t, t, anchored)
        weight = self.weighting(self.path, t)
        terms = group_losses(x0_hat, x0, weight, valid, self.denoiser.codec.layout)
        if student is not None:
            difference = (self.predicted_x0(x_t, t, student) - x0_hat.detach()).square().mean(-1)
            terms["density_prediction"] = masked_mean(weight[:, None] * difference, valid)
        return terms

    def predicted_x0(
        self, x_t: Float[Tensor, "b g d"], t: Float[Tensor, "b"], anchored: Anchored
    ) -> Float[Tensor, "b g d"]:
        """Return the clean states that the network expects behind noised ones."""
        output = self.denoiser.denoise(*self.path.network_input(x_t, t), anchored)
        return self.path.to_x0(self.prediction, output.float(), x_t, t)

    def adopt(self, statistics: Statistics) -> None:
        """Let the path know how far clean states are spread, too."""
        super().adopt(statistics)
        self.path.fit(statistics.spread)

    # Sampling

    def sample_states(
        self,
        guide: Guide,
        noise: Float[Tensor, "b k d"],
        sampler: Sampler,
        generator: torch.Generator,
        *,
        trajectory: bool,
    ) -> Samples:
        """Turn unit noise into clean normalized states by a sampler.

        Raises:
            ValueError: a sampler for another kind of path or model.
        """
        self.check_sampler(sampler, self.path)
        return sampler(guide.wrap(self.predicted_x0), self.path, noise, generator, trajectory=trajectory)

    def flow_score(
        self, states: Float[Tensor, "b k d"], alone: Anchored, rank: FlowRank, generator: torch.Generator
    ) -> Float[Tensor, "b k"]:
        """Return the log-likelihood of clean states, or the part that the flow adds to it.

        Raises:
            ValueError: a distilled model, or one on a discrete path.
        """
        if self.distilled:
            raise ValueError(
                f"rank={rank.by} follows the flow of a model that predicts the mean, and this one was distilled. "
                "Use rank=score or none."
            )
        found = log_likelihood(
            lambda x, t: self.predicted_x0(x, t, alone),
            self.path,
            states,
            steps=rank.steps,
            probes=rank.probes,
            generator=generator,
        )
        return found.log_prob if rank.by == "log_prob" else found.divergence

    def check_sampler(self, sampler: Sampler, path: Path) -> None:
        """Refuse a sampler for another kind of path or model.

        Raises:
            ValueError: with both names and the remedy.
        """
        sampler.check(path)
        if sampler.for_distilled and not self.distilled:
            raise ValueError(
                f"sampler={sampler.name} needs a distilled model, and this one predicts the mean. "
                "Distil it: python train_lightning.py experiment=distill model.teacher=<checkpoint>"
            )
        if self.distilled and not sampler.for_distilled:
            raise ValueError(
                f"sampler={sampler.name} needs a model that predicts the mean, and this one was distilled to answer "
                "with the end of a trajectory. Use sampler=consistency."
            )
