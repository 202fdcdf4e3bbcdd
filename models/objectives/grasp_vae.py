"""What the autoencoder of grasp states minimizes: errors of states and hands decoded from codes, and what codes say."""

from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.grasp_vae import EXPERIMENT, GraspVAE
from sceneleapultra.models.network.context import DecodedGrasps
from sceneleapultra.models.network.tokens import SceneTokens
from sceneleapultra.models.objectives.context import AnchorAssignment, PredictionContext
from sceneleapultra.models.objectives.matching import Index
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.term import LossTerm


class GraspVaeContext(PredictionContext):
    """A step of the autoencoder: codes of the true grasps, and the states decoded from them."""

    generator: GraspVAE  # type: ignore[assignment]
    matching = Index()

    @cached_property
    def tokens(self) -> SceneTokens:
        """Where grasps may be anchored."""
        return self.generator.tokens(self.cloud)

    @cached_property
    def code(self) -> tuple[Float[Tensor, "b g z"], Float[Tensor, "b g z"]]:
        """Mean and log-variance of the codes of the true grasps."""
        return self.generator.vae.posterior(self.x0)

    @cached_property
    def x0_hat(self) -> Float[Tensor, "b g d"]:
        """Normalized states decoded from codes drawn by their posterior; in validation, from its mean."""
        mean, log_variance = self.code
        if self.training:
            mean = mean + (0.5 * log_variance).exp() * self.noise.eps
        return self.generator.vae.decode(mean)

    @cached_property
    def grasps_hat(self) -> DecodedGrasps:
        """Grasps that the decoded states stand for, in the frame of the cloud."""
        index = self.positive_index
        return self.generator.decode_at(
            self.x0_hat, index, *self.generator.reference_frames(self.tokens, index)
        )


class GraspReconstruction(Objective):
    """Trains an autoencoder of grasp states.

    Args:
        terms: what is minimized, by name.
        anchors: how true grasps are assigned to tokens.
        num_grasps: successful grasps per scene in a training batch.
        seed: of the codes' noise, together with the step and the item.
    """

    next_step = ("python train_lightning.py experiment=grasp_latent", "model.objective.vae")
    context_type = GraspVaeContext

    def __init__(
        self, *, terms: dict[str, LossTerm], anchors: AnchorAssignment, num_grasps: int, seed: int
    ) -> None:
        super().__init__(terms=terms, seed=seed)
        self.anchors, self.num_grasps = anchors, num_grasps

    def prepare(self, generator: Any) -> None:
        """Check what is trained.

        Raises:
            ValueError: no autoencoder of grasps.
        """
        if not isinstance(generator, GraspVAE):
            raise ValueError(
                "model.objective=grasp_reconstruction trains an autoencoder of grasps, model.generator is none. Pass "
                f"model={EXPERIMENT}."
            )
