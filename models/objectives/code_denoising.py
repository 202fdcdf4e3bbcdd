"""How completions are learned in the space of an autoencoder's codes: by denoising, and by distilling what denoises."""

from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.checkpoints.weights import fill
from sceneleapultra.models.completion.complete import load_grid_model
from sceneleapultra.models.completion.latent import Features, LatentCompleter
from sceneleapultra.models.completion.vae import FieldVAE
from sceneleapultra.models.diffusion.process import NoiseProcess
from sceneleapultra.models.diffusion.solvers import Denoise
from sceneleapultra.models.diffusion.weighting import LossWeighting
from sceneleapultra.models.objectives.completion import CompletionContext
from sceneleapultra.models.objectives.consistency import ConsistencyObjective, Trajectory, wrap_process
from sceneleapultra.models.objectives.field_vae import item_random
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.models.process import ConsistencyDiffusion, Diffusion

_SIZES = "the dim and channels in model.generator"


class CodeContext(CompletionContext):
    """What steps of both share: clean states, their noise, and features of what is observed."""

    @cached_property
    def x0(self) -> Float[Tensor, "b 1 d"]:
        """Codes of the true distances."""
        return self.generator.codes(self.batch.distance)

    @cached_property
    def noise(self) -> tuple[Float[Tensor, "b"], Float[Tensor, "b 1 d"]]:
        """A uniform number in [0, 1) for the time of each scene, and standard normal noise."""
        return item_random(self.x0, self.batch.item_index, self.objective.seed, self.step)

    @cached_property
    def features(self) -> Features:
        """Features of what is observed."""
        return self.generator.encoder(self.batch.observed)


class CodeDenoisingContext(CodeContext):
    """A step of diffusion."""

    @property
    def process(self) -> NoiseProcess:
        """The noise process."""
        return self.generator.process.noise

    @cached_property
    def t(self) -> Float[Tensor, "b"]:
        """Diffusion time of each scene."""
        return self.process.sample_t(self.noise[0])

    @property
    def target_x0(self) -> Float[Tensor, "b 1 d"]:
        """The clean states."""
        return self.x0

    @cached_property
    def x0_hat(self) -> Float[Tensor, "b 1 d"]:
        """Clean states predicted from noised ones."""
        x_t = self.process.add_noise(self.x0, self.noise[1], self.t)
        return self.generator.predict_x0(x_t, self.t, self.features)

    @cached_property
    def sample_weight(self) -> Float[Tensor, "b"]:
        """How much the noise level of each scene counts."""
        return self.objective.weighting(self.process, self.t)


class CodeDistillationContext(CodeContext):
    """A step of consistency distillation."""

    @cached_property
    def trajectory(self) -> Trajectory:
        """Noised states, those one interval earlier on the teacher's trajectory, and the times of both."""
        uniform, eps = self.noise
        teacher = self._denoiser(self.objective.teacher)
        return self.objective.trajectory(
            teacher, self.x0, eps, uniform, step=self.step, training=self.training
        )

    @cached_property
    def x0_hat(self) -> Float[Tensor, "b 1 d"]:
        """The student's prediction."""
        x_t, _, t, _ = self.trajectory
        return self._denoiser(self.generator)(x_t, t)

    @cached_property
    def target_x0(self) -> Float[Tensor, "b 1 d"]:
        """The target's prediction one interval earlier."""
        _, x_s, _, s = self.trajectory
        with torch.no_grad():
            return self._denoiser(self.objective.target)(x_s, s)

    @cached_property
    def sample_weight(self) -> Float[Tensor, "b"]:
        """All count the same."""
        return torch.ones_like(self.noise[0])

    def _denoiser(self, model: LatentCompleter) -> Denoise:
        # The encoder is the teacher's in all three models.
        features = self.features
        return lambda x, t: model.predict_x0(x, t, features)


class CodeError(LossTerm):
    """Squared error of clean states, weighted by noise level."""

    needs = ("x0_hat", "target_x0", "sample_weight")

    def __call__(self, context: Any) -> Float[Tensor, ""]:
        """Return the mean over scenes and numbers of a state."""
        error = (context.x0_hat - context.target_x0).square().mean((1, 2))
        return (context.sample_weight * error).mean()


class CodeDenoising(Objective):
    """Trains a latent completer by denoising.

    Args:
        vae: checkpoint of the autoencoder whose codes are learned.
        terms: what is minimized, by name.
        weighting: how much each noise level counts.
        seed: of all noise, together with the step and the item.
    """

    measures_statistics = False
    next_step = ("python test_lightning.py checkpoint=leap_table", "completion")
    context_type = CodeDenoisingContext

    def __init__(self, *, vae: str, terms: dict[str, LossTerm], weighting: LossWeighting, seed: int) -> None:
        super().__init__(terms=terms, seed=seed)
        self._vae_path, self.weighting = vae, weighting

    def prepare(self, generator: Any) -> None:
        """Take the autoencoder's weights.

        Raises:
            ValueError: no latent completer, or an autoencoder of another size.
        """
        if not isinstance(generator, LatentCompleter) or not isinstance(generator.process, Diffusion):
            raise ValueError(
                "model.objective=code_denoising trains a diffusion of codes, model.generator is none. Pass "
                "model=completion_latent data=completion."
            )
        self.weighting.check(generator.process.noise)
        vae, _ = load_grid_model(self._vae_path, FieldVAE, "completion_vae")
        fill(generator.vae, vae.state_dict(), f"model.objective.vae={self._vae_path}", _SIZES)


class CodeDistillation(ConsistencyObjective):
    """Distills a latent completer into one that needs one or two steps; what is observed is read as by the teacher."""

    next_step = ("python test_lightning.py checkpoint=leap_table", "completion")
    context_type = CodeDistillationContext

    def load_teacher(self, generator: Any) -> LatentCompleter:
        """Return the teacher, whose weights the student begins with; its encoder is frozen."""
        if not isinstance(generator, LatentCompleter) or not isinstance(
            generator.process, ConsistencyDiffusion
        ):
            raise ValueError(
                "model.objective=code_distillation trains a student of a diffusion of codes, model.generator is none. "
                "Pass model=completion_consistency data=completion."
            )
        teacher, _ = load_grid_model(self._teacher_path, LatentCompleter, "completion_latent")
        source = f"model.objective.teacher={self._teacher_path}"
        if not isinstance(teacher.process, Diffusion):
            raise ValueError(f"{source} is distilled already; distill the model it came from.")
        fill(generator, wrap_process(teacher.state_dict()), source, _SIZES)
        generator.encoder.requires_grad_(False)
        return teacher
