"""What the autoencoder of scenes minimizes: errors of decoded distances, and what codes say beyond a prior."""

from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.completion.metrics import OverlapPart
from sceneleapultra.models.completion.vae import FieldVAE
from sceneleapultra.models.metrics import MetricPart
from sceneleapultra.models.objectives.completion import PARTS, CompletionContext, scene_mean
from sceneleapultra.models.objectives.latent import gaussian_kl
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.utils.core.seeding import keyed_seed


class FieldVaeContext(CompletionContext):
    """A step of the autoencoder: codes of true distances, and the distances decoded from them."""

    @cached_property
    def code(self) -> tuple[Float[Tensor, "b c u v w"], Float[Tensor, "b c u v w"]]:
        """Mean and log-variance of the codes."""
        return self.generator.encode(self.batch.distance)

    @cached_property
    def predicted(self) -> Float[Tensor, "b 2 x y z"]:
        """Distances (m) decoded from codes drawn by their posterior; in validation, from its mean."""
        mean, log_variance = self.code
        if not self.training:
            return self.generator.decode(mean)
        _, noise = item_random(mean, self.batch.item_index, self.objective.seed, self.step)
        return self.generator.decode(mean + (0.5 * log_variance).exp() * noise)


def item_random(
    like: Float[Tensor, "b *d"], items: tuple[int, ...], seed: int, step: int
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b *d"]]:
    """Return a uniform number for each item and standard normal ones like it, by (seed, step, item) alone."""
    streams = [torch.Generator().manual_seed(keyed_seed(seed, step, item)) for item in items]
    uniform = torch.stack([torch.rand((), generator=stream) for stream in streams])
    normal = torch.stack([torch.randn(like.shape[1:], generator=stream) for stream in streams])
    return uniform.to(like), normal.to(like)


class NearError(LossTerm):
    """Absolute error of distances where they are within the reach, in shares of it.

    Few voxels are: over all voxels the median of what is beside a target is far, which an autoencoder finds and keeps.
    """

    needs = ("predicted",)

    def __call__(self, context: FieldVaeContext) -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean over voxels, of target and others of each scene, and then over those."""
        true, reach_m = context.batch.distance.flatten(0, 1), context.generator.reach_m
        return scene_mean((context.predicted.flatten(0, 1) - true).abs() / reach_m, true.abs() < reach_m)


class CodeDivergence(LossTerm):
    """Divergence of the codes from a standard normal prior, in nats per number of a code."""

    needs = ("code",)

    def __call__(self, context: FieldVaeContext) -> Float[Tensor, ""]:  # type: ignore[override]
        """Return the mean over scenes, cells and channels."""
        return gaussian_kl(*context.code).mean()


class FieldReconstruction(Objective):
    """Trains an autoencoder of true distances; what a view shows is not read.

    Args:
        terms: what is minimized, by name.
        seed: of the codes' noise, together with the step and the item.
    """

    next_step = ("python train_lightning.py experiment=completion_latent", "model.objective.vae")
    measures_statistics = False
    context_type = FieldVaeContext

    def prepare(self, generator: Any) -> None:
        """Check what is trained.

        Raises:
            ValueError: no autoencoder of distances.
        """
        if not isinstance(generator, FieldVAE):
            raise ValueError(
                "model.objective=field_reconstruction trains an autoencoder of distances, model.generator is none. "
                "Pass model=completion_vae data=completion."
            )

    def metrics(self, context: FieldVaeContext) -> dict[str, MetricPart]:
        """Return the overlap of decoded and true solids, for target and others."""
        solid, true = context.predicted < 0.0, context.batch.distance < 0.0
        return {
            name: OverlapPart.of(solid[:, i].flatten(), true[:, i].flatten()) for i, name in enumerate(PARTS)
        }
