"""A conditional variational autoencoder of grasps (Kingma & Welling 2014; Sohn et al. 2015): the baseline of the field.

``log p(x | scene) >= E_q(z | x, scene) log p(x | z, scene) - KL(q(z | x, scene) || N(0, 1))``, per grasp. The posterior
q reads a grasp and gives mean and variance of its code; it belongs to training alone. The generator's decoder turns a
code into a grasp in one evaluation.
"""

from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.losses import masked_mean
from sceneleapultra.models.network.context import AnchoredScene
from sceneleapultra.models.network.decoder.base import Decoder, DecoderConfig, DecoderDims, StepView
from sceneleapultra.models.objectives.context import AnchorAssignment, PredictionContext
from sceneleapultra.models.objectives.matching import Matching
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.term import LossTerm, Weight
from sceneleapultra.models.process import LatentDecoding

_LOG_VARIANCE_BOUND = 8.0  # standard deviations of a code between 0.02 and 55


class LatentContext(PredictionContext):
    """A step of a CVAE: codes of the true grasps, and the states decoded from them."""

    @cached_property
    def code(self) -> tuple[Float[Tensor, "b g z"], Float[Tensor, "b g z"]]:
        """Mean and log-variance of the codes of the true grasps."""
        features = self.generator.conditioning.anchor_features(self.anchored.scene, self.anchored.index)
        return self.objective.encode(self.x0, self.anchored, features)

    @cached_property
    def x0_hat(self) -> Float[Tensor, "b g d"]:
        """Clean states decoded from a code drawn from the posterior."""
        mean, log_variance = self.code
        z = mean + (0.5 * log_variance).exp() * self.noise.eps
        return self.generator.predict_x0(z, self.noise.t, self.anchored)


class Divergence(LossTerm):
    """Divergence of the codes from the prior, summed over their dimensions.

    Args:
        free_nats: information per dimension that costs nothing (free bits, Kingma et al. 2016, eq. 15).
        weight: a schedule that rises from 0 keeps codes from collapsing (Bowman et al. 2016).
    """

    needs = ("code", "positive")

    def __init__(self, *, free_nats: float, weight: Weight) -> None:
        super().__init__(weight=weight)
        if free_nats < 0.0:
            raise ValueError(f"model.objective.terms: expected free_nats of at least 0, got {free_nats}.")
        self.free_nats = free_nats
        self.mean_of_scenes = free_nats == 0.0  # else the mean over the batch is compared with it

    def __call__(self, context: Any) -> Float[Tensor, ""]:
        """Return nats per grasp."""
        kl = gaussian_kl(*context.code)
        per_dim = torch.stack([masked_mean(part, context.positive) for part in kl.unbind(-1)])
        return per_dim.clamp_min(self.free_nats).sum()


class LatentVariable(Objective):
    """Learns codes of grasps and how to decode them on a scene.

    Args:
        terms: what is minimized, by name.
        anchors: how true grasps are assigned to tokens.
        matching: how predicted and true grasps are paired.
        posterior: sizes of the network that reads grasps.
        num_grasps: successful grasps per scene in a training batch.
        seed: of all noise, together with the step and the item.
    """

    context_type = LatentContext

    def __init__(
        self,
        *,
        terms: dict[str, LossTerm],
        anchors: AnchorAssignment,
        matching: Matching,
        posterior: DecoderConfig,
        num_grasps: int,
        seed: int,
    ) -> None:
        super().__init__(terms=terms, seed=seed)
        self.anchors, self.matching = anchors, matching
        self.num_grasps, self._posterior_config = num_grasps, posterior

    def prepare(self, generator: Any) -> None:
        """Build the posterior for a generator that decodes codes."""
        if not isinstance(generator, GraspGenerator) or not isinstance(generator.process, LatentDecoding):
            raise ValueError(
                "model.objective=latent trains a CVAE; model.generator is another kind. Pass model=grasp_cvae."
            )
        self.posterior: Decoder = self._posterior_config.build(
            DecoderDims(
                dim_state=generator.codec.layout.dim,
                dim_scene=generator.encoder.dim,
                dim_out=2 * generator.dim_input,
                dim_prompt=generator.dim_prompt,
                dim_hand=None,
                dim_completion=None,
            )
        )

    def encode(
        self, x0: Float[Tensor, "b g d"], anchored: AnchoredScene, features: Float[Tensor, "b g c"]
    ) -> tuple[Float[Tensor, "b g z"], Float[Tensor, "b g z"]]:
        """Return mean and log-variance of the codes of clean normalized states, given their anchors' features."""
        tokens, prompt = anchored.scene.tokens, anchored.prompt
        context = replace(
            anchored.context,
            keys_values=self.posterior.keys_values(tokens.features),
            anchor=self.posterior.embed_anchor(features),
            prompt=None if prompt is None else self.posterior.prompt_keys_values(prompt.tokens),
            completion=None,
        )
        clean = self.posterior.embed_level(torch.zeros(1, device=x0.device))
        none = torch.zeros_like(x0[..., :1])
        mean, log_variance = (
            self.posterior(x0, clean, StepView(context.geometry, none), context).float().chunk(2, dim=-1)
        )
        return mean, log_variance.clamp(-_LOG_VARIANCE_BOUND, _LOG_VARIANCE_BOUND)


def gaussian_kl(mean: Float[Tensor, "*b z"], log_variance: Float[Tensor, "*b z"]) -> Float[Tensor, "*b z"]:
    """Return the divergence of N(mean, variance) from N(0, 1), per dimension (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
