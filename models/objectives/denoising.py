"""Diffusion and flow models: the error of clean states predicted from noised ones, and what the heads learn."""

from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.diffusion.process import NoiseProcess
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import AnchoredScene, SceneContext
from sceneleapultra.models.objectives.context import AnchorAssignment, PredictionContext
from sceneleapultra.models.objectives.grasp_codes import take_codes
from sceneleapultra.models.objectives.matching import Matching
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.sparse import SparseView, same_anchors
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.models.process import Diffusion


class DenoisingContext(PredictionContext):
    """A step of a diffusion or flow model: noised states and the clean ones predicted from them."""

    @property
    def process(self) -> NoiseProcess:
        """The generator's noise process."""
        assert isinstance(self.generator.process, Diffusion)
        return self.generator.process.noise

    @cached_property
    def t(self) -> Float[Tensor, "b"]:
        """Diffusion time of each scene."""
        return self.process.sample_t(self.noise.t)

    @cached_property
    def x_t(self) -> Float[Tensor, "b g d"]:
        """Noised states."""
        eps = self.process.pair_noise(self.x0, self.noise.eps, self.anchored.index, self.positive)
        return self.process.add_noise(self.x0, eps, self.t)

    @cached_property
    def x0_hat(self) -> Float[Tensor, "b g d"]:
        """Clean states predicted from the noised ones."""
        return self.generator.predict_x0(self.x_t, self.t, self.anchored)

    @cached_property
    def snr(self) -> Float[Tensor, "b"]:
        """Signal-to-noise ratio (alpha / sigma)^2 of each scene."""
        return (self.process.alpha(self.t) / self.process.sigma(self.t)).square()

    @cached_property
    def sample_weight(self) -> Float[Tensor, "b"]:
        """How much the noise level of each scene counts."""
        return self.objective.weighting(self.process, self.t)

    @cached_property
    def sparse_scene(self) -> SceneContext:
        """The scenes encoded from sparse views of their clouds."""
        view: SparseView = self.objective.sparse_view
        num_points = self.batch.scene_pc.shape[1]
        noise = view.draw(self.batch.item_index, num_points, self.objective.seed, self.step)
        cloud = view.sparsify(self.cloud, noise.to(self.generator.device))
        return self.generator.encode(cloud, self.noise.dropped.get("color"))

    @cached_property
    def sparse_anchored(self) -> AnchoredScene:
        """The sparse scenes as the anchors of the full ones see them."""
        return same_anchors(self.generator, self.sparse_scene, self.anchored, self.noise.dropped)

    @cached_property
    def sparse_x0_hat(self) -> Float[Tensor, "b g d"]:
        """Clean states predicted from the same noised ones on the sparse views."""
        return self.generator.predict_x0(self.x_t, self.t, self.sparse_anchored)


class Denoising(Objective):
    """Learns to denoise sets of successful grasps, as states or as the codes of an autoencoder.

    Args:
        vae: checkpoint of the autoencoder whose codes are denoised; None where states are.
        terms: what is minimized, by name.
        anchors: how true grasps are assigned to tokens.
        weighting: how much each noise level counts.
        matching: how predicted and true grasps are paired.
        num_grasps: successful grasps per scene in a training batch; what follows them are failures for the heads.
        sparse_view: how clouds are thinned for the terms that compare a sparse view with the full one.
        seed: of all noise, together with the step and the item.

    Attributes:
        frame: coordinate mode of the data that the autoencoder learned from; None without one.
    """

    context_type = DenoisingContext

    def __init__(
        self,
        *,
        vae: str | None,
        terms: dict[str, LossTerm],
        anchors: AnchorAssignment,
        weighting: LossWeighting,
        matching: Matching,
        num_grasps: int,
        sparse_view: SparseView | None,
        seed: int,
    ) -> None:
        super().__init__(terms=terms, seed=seed)
        self.anchors, self.weighting, self.matching = anchors, weighting, matching
        self.num_grasps, self.sparse_view = num_grasps, sparse_view
        self.frame: str | None = None
        self._vae_path = vae
        reads = [name for name, term in self.terms.items() if any("sparse" in need for need in term.needs)]
        if reads and sparse_view is None:
            raise ValueError(
                f"model.objective.terms.{reads[0]} compares with a sparse view, but model.objective.sparse_view is "
                "null. Give its settings, or switch the term off with weight=0."
            )

    def prepare(self, generator: Any) -> None:
        """Check that the generator is a diffusion whose noise levels can be weighted so, and take the autoencoder.

        Raises:
            FileNotFoundError: no such checkpoint.
            ValueError: another kind of generator, or an autoencoder of another size, hand or representation.
        """
        if not isinstance(generator, GraspGenerator) or not isinstance(generator.process, Diffusion):
            raise ValueError(
                "model.objective=denoising trains a diffusion or flow model; model.generator is another kind. Pass "
                "model=grasp_dit, or the objective that belongs to it."
            )
        self.weighting.check(generator.process.noise)
        if self._vae_path is not None:
            self.frame = take_codes(generator, self._vae_path)
