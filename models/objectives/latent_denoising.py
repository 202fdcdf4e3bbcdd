"""Diffusion in the space of an autoencoder of grasps: the objective of ``experiment=grasp_latent``."""

from typing import Any

from sceneleapultra.models.checkpoints.weights import fill
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.grasp_vae import load_grasp_vae
from sceneleapultra.models.objectives.context import AnchorAssignment
from sceneleapultra.models.objectives.denoising import Denoising
from sceneleapultra.models.objectives.matching import Matching
from sceneleapultra.models.objectives.sparse import SparseView
from sceneleapultra.models.objectives.term import LossTerm


class LatentDenoising(Denoising):
    """Learns to denoise the codes of grasps.

    Args:
        vae: checkpoint of the autoencoder; what it learned is copied, and stays as it is.
        terms: see :class:`Denoising`, as for all others.
        anchors: how true grasps are assigned to tokens.
        weighting: how much each noise level counts.
        matching: how predicted and true grasps are paired.
        num_grasps: successful grasps per scene in a training batch.
        sparse_view: how clouds are thinned for the terms that compare a sparse view with the full one.
        seed: of all noise, together with the step and the item.

    Attributes:
        frame: coordinate mode of the data that the autoencoder learned from.
    """

    def __init__(
        self,
        *,
        vae: str,
        terms: dict[str, LossTerm],
        anchors: AnchorAssignment,
        weighting: LossWeighting,
        matching: Matching,
        num_grasps: int,
        sparse_view: SparseView | None,
        seed: int,
    ) -> None:
        super().__init__(
            terms=terms,
            anchors=anchors,
            weighting=weighting,
            matching=matching,
            num_grasps=num_grasps,
            sparse_view=sparse_view,
            seed=seed,
        )
        self._vae_path, self.frame = vae, ""

    def prepare(self, generator: Any) -> None:
        """Take the autoencoder's weights, and the statistics of the states that it reads.

        Raises:
            FileNotFoundError: no such checkpoint.
            ValueError: a generator of states, or an autoencoder of another size, hand or representation.
        """
        super().prepare(generator)
        if generator.autoencoder is None:
            raise ValueError(
                "model.objective=latent_denoising learns codes of grasps, "
                "model.generator.representation.autoencoder=null denoises states. Pass model=grasp_latent."
            )
        vae, source = load_grasp_vae(self._vae_path), f"model.objective.vae={self._vae_path}"
        if vae.hand.table_hash != generator.hand.table_hash:
            raise ValueError(
                f"{source} encodes grasps of hand={vae.hand.name}, model.generator.hand={generator.hand.name}. Pass "
                f"hand={vae.hand.name}, or train another with: python train_lightning.py experiment=grasp_vae "
                f"hand={generator.hand.name}"
            )
        for key in ("anchored", "reference_depth"):
            there, here = (getattr(m.representation, key) for m in (vae, generator))
            if there != here:
                raise ValueError(
                    f"{source} encodes states of representation.{key}={there}, model.generator.representation.{key}="
                    f"{here}. Pass model.generator.representation.{key}={str(there).lower()}, or train another "
                    "autoencoder."
                )
        sizes = "the sizes in model.generator.representation.autoencoder"
        fill(generator.autoencoder, vae.vae.state_dict(), source, sizes)
        self.frame = vae.normalizer.frame
        for name in ("mean", "std", "fitted"):
            getattr(generator.scaling, name).copy_(getattr(vae.normalizer, name))
