"""A conditional variational autoencoder of grasps (Kingma & Welling 2014; Sohn et al. 2015): the baseline of the field.

``log p(x | scene) >= E_q(z | x, scene) log p(x | z, scene) - KL(q(z | x, scene) || N(0, 1))``, per grasp. Both halves
are decoders of this project around the same encoded scene: one reads the grasp and gives mean and variance of its code,
the other turns a code into a grasp in one evaluation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.hands import load_hand
from sceneleapultra.models.denoiser import Anchored, Denoiser, Representation
from sceneleapultra.models.diffusion.likelihood import FlowRank
from sceneleapultra.models.diffusion.path import Path
from sceneleapultra.models.diffusion.samplers import Evaluate, Sampler, Samples
from sceneleapultra.models.guidance.guide import Guide
from sceneleapultra.models.learning import Draws, GraspLearning
from sceneleapultra.models.losses import group_losses, masked_mean
from sceneleapultra.models.network.conditions.base import Condition
from sceneleapultra.models.network.decoder.base import DecoderConfig, DecoderDims
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.scorer.base import ScorerConfig

_LOG_VARIANCE_BOUND = 8.0  # standard deviations of a code between 0.02 and 55


@dataclass(frozen=True, kw_only=True)
class Prior(Sampler):
    """Draws codes from the prior and decodes them: the one way to sample a CVAE, in one evaluation."""

    name = "prior"

    def __post_init__(self) -> None:
        """Refuse more than the one step there is."""
        super().__post_init__()
        if self.steps != 1:
            raise ValueError(f"sampler=prior decodes once: sampler.steps must be 1, got {self.steps}.")

    def check(self, path: Path) -> None:
        """Refuse every path: a diffusion model has no prior over codes."""
        raise ValueError(
            f"sampler=prior draws the codes of a CVAE; this model was trained on model.path={path.name}. "
            "Use sampler=ddim."
        )

    def solve(
        self, ask: Evaluate, path: Path, x: Float[Tensor, "b g d"], generator: torch.Generator | None
    ) -> Iterator[Float[Tensor, "b g d"]]:
        """Yield what the codes decode to."""
        yield ask(x, x.new_zeros(()))


class GraspCVAE(GraspLearning):
    """Learns codes of grasps and how to decode them on a scene.

    Args:
        hand: name of the hand.
        encoder: scene encoder.
        sampler: the prior, with its temperature.
        representation: frame of the pose vector, see :class:`~sceneleapultra.models.denoiser.Denoiser`.
        reference_depth: distance of the pose's reference point in front of the palm (m).
        contact_points: see :class:`~sceneleapultra.models.denoiser.Denoiser`.
        decoder: sizes of both halves, see ``config/model/decoder``.
        conditions: what the model is told beside the scene, see ``config/model/conditions``.
        color_drop_prob: share of training scenes whose colors the encoder does without.
        compile: whether the decoder runs through torch.compile.
        latent_dim: length of a code.
        free_nats: information per dimension of the code that costs nothing (free bits, Kingma et al. 2016, eq. 15).
        kl_warmup_steps: steps over which the weight of the divergence rises from 0 (Bowman et al. 2016).
        scorer: what ranks grasps, see ``config/model/scorer``.
        anchor_softness: standard deviation of the choice among anchors near a grasp (m).
        anchor_reach: grasps further than this from every visible target token are not trained on (m).
        anchor_temperature: flattens (> 1) or sharpens (< 1) the choice of anchors when sampling.
        pregrasp_opening: how far the flexion joints open from grasp to pre-grasp (rad).
        squeeze_gain: factor on the predicted squeeze when grasps are generated.
        num_grasps: successful grasps per scene in a training batch.
        loss_weights: by pose group, and ``kl``, ``anchor`` and ``score``.
        seed: of all noise, together with the step and the item.
        optimizer: partial of an optimizer over parameter groups; None for inference.
        scheduler: partial of a learning-rate schedule over an optimizer; None for inference.
    """

    def __init__(
        self,
        *,
        hand: str,
        encoder: SceneEncoder,
        sampler: Prior,
        representation: Representation,
        reference_depth: float,
        contact_points: int | None,
        decoder: DecoderConfig,
        conditions: dict[str, Condition],
        color_drop_prob: float,
        compile: bool,
        latent_dim: int,
        free_nats: float,
        kl_warmup_steps: int,
        scorer: ScorerConfig,
        anchor_softness: float,
        anchor_reach: float,
        anchor_temperature: float,
        pregrasp_opening: float,
        squeeze_gain: float,
        num_grasps: int,
        loss_weights: dict[str, float],
        seed: int,
        optimizer: Callable[..., Any] | None,
        scheduler: Callable[..., Any] | None,
    ) -> None:
        rules = {
            "latent_dim": (latent_dim, 1),
            "free_nats": (free_nats, 0),
            "kl_warmup_steps": (kl_warmup_steps, 0),
        }
        for key, (value, least) in rules.items():
            if value < least:
                raise ValueError(f"model.{key}: expected at least {least}, got {value}.")
        denoiser = Denoiser(
            hand=load_hand(hand),
            encoder=encoder,
            representation=representation,
            reference_depth=reference_depth,
            contact_points=contact_points,
            decoder=decoder,
            conditions=conditions,
            scene_drop_prob=0.0,
            color_drop_prob=color_drop_prob,
            latent_dim=latent_dim,
            compiled=compile,
        )
        super().__init__(
            denoiser=denoiser,
            scorer=scorer,
            anchor_softness=anchor_softness,
            anchor_reach=anchor_reach,
            anchor_temperature=anchor_temperature,
            pregrasp_opening=pregrasp_opening,
            squeeze_gain=squeeze_gain,
            num_grasps=num_grasps,
            loss_weights=loss_weights,
            own_terms=("kl",),
            density=None,
            seed=seed,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        self.posterior = decoder.build(
            DecoderDims(
                dim_state=denoiser.codec.layout.dim,
                dim_scene=encoder.dim,
                dim_out=2 * latent_dim,
                dim_prompt=denoiser.dim_prompt,
            )
        )
        self.latent_dim, self.free_nats, self.kl_warmup_steps = latent_dim, free_nats, kl_warmup_steps
        self.sampler = sampler

    def encoded(
        self, x0: Float[Tensor, "b g d"], anchored: Anchored
    ) -> tuple[Float[Tensor, "b g z"], Float[Tensor, "b g z"]]:
        """Return mean and log-variance of the codes of clean normalized states."""
        context = self.denoiser.context_for(self.posterior, anchored)
        t = torch.zeros(len(x0), device=x0.device)
        none = torch.zeros_like(x0[..., :1])
        mean, log_variance = self.posterior(x0, t, context.geometry, none, context).float().chunk(2, dim=-1)
        return mean, log_variance.clamp(-_LOG_VARIANCE_BOUND, _LOG_VARIANCE_BOUND)

    def decoded(
        self, z: Float[Tensor, "b g z"], t: Float[Tensor, "b"], anchored: Anchored
    ) -> Float[Tensor, "b g d"]:
        """Return the mean of the states with these codes; the time is ignored, as there is none."""
        still = torch.zeros_like(t)
        return self.denoiser.denoise(z, still, torch.ones_like(t), anchored).float()

    def state_losses(
        self,
        x0: Float[Tensor, "b g d"],
        draws: Draws,
        anchored: Anchored,
        valid: Bool[Tensor, "b g"],
        student: Anchored | None = None,
    ) -> dict[str, Tensor]:
        """Return the reconstruction error by pose group, and the divergence from the prior."""
        mean, log_variance = self.encoded(x0, anchored)
        z = mean + (0.5 * log_variance).exp() * draws.eps
        x0_hat = self.decoded(z, draws.t, anchored)
        terms = group_losses(x0_hat, x0, torch.ones_like(draws.t), valid, self.denoiser.codec.layout)
        kl = gaussian_kl(mean, log_variance)
        per_dim = torch.stack([masked_mean(part, valid) for part in kl.unbind(-1)])
        warm = min(1.0, self.global_step / self.kl_warmup_steps) if self.kl_warmup_steps else 1.0
        return terms | {"kl": warm * per_dim.clamp_min(self.free_nats).sum()}

    def sample_states(
        self,
        guide: Guide,
        noise: Float[Tensor, "b k d"],
        sampler: Sampler,
        generator: torch.Generator,
        *,
        trajectory: bool,
    ) -> Samples:
        """Decode codes drawn from the prior.

        Raises:
            ValueError: another sampler than the prior, or a trajectory, which a single step has not.
        """
        if sampler.name != "prior":
            raise ValueError(
                f"sampler={sampler.name} follows a diffusion; this model is a CVAE, which decodes in one step. "
                "Use sampler=prior."
            )
        if trajectory:
            raise ValueError("A CVAE decodes in one step: it has no trajectory. Leave trajectory=False.")
        t = torch.zeros(len(noise), device=noise.device)
        return Samples(x0=guide.wrap(self.decoded)(sampler.temperature * noise, t), nfe=1)

    def flow_score(
        self, states: Float[Tensor, "b k d"], alone: Anchored, rank: FlowRank, generator: torch.Generator
    ) -> Float[Tensor, "b k"]:
        """Refuse: a CVAE has no flow.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"rank={rank.by} follows the flow of a diffusion model; this is a CVAE. Use rank=score."
        )


def gaussian_kl(mean: Float[Tensor, "*b z"], log_variance: Float[Tensor, "*b z"]) -> Float[Tensor, "*b z"]:
    """Return the divergence of N(mean, variance) from N(0, 1), per dimension (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
