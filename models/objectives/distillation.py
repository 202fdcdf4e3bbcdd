"""How a model of grasps learns to sample in one step; the method is in ``consistency.py``."""

from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.models.checkpoints.load import build_generator, load_generator
from sceneleapultra.models.diffusion.solvers import Denoise
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import AnchoredScene
from sceneleapultra.models.objectives.consistency import ConsistencyObjective, Trajectory, wrap_process
from sceneleapultra.models.objectives.context import AnchorAssignment, PredictionContext
from sceneleapultra.models.objectives.matching import Index
from sceneleapultra.models.objectives.noise import StepNoise
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.models.process import ConsistencyDiffusion, Diffusion
from sceneleapultra.utils.core.config import load_group


class DistillationContext(PredictionContext):
    """A step of consistency distillation: the student's prediction at one point of the teacher's trajectory, and the
    target's at the neighboring one.
    """

    matching = Index()

    @cached_property
    def noise(self) -> StepNoise:
        """The random numbers of the step; nothing is dropped."""
        return replace(super().noise, dropped={})

    @cached_property
    def anchored(self) -> AnchoredScene:
        """The scenes with all their conditions; the grasps that count are one set."""
        return self.generator.anchor(self.scene, self.positive_index, self.set_id)

    @cached_property
    def set_id(self) -> Int[Tensor, "b g"]:
        """One set of all grasps that count."""
        return self.positive.long() - 1

    @cached_property
    def trajectory(self) -> Trajectory:
        """Noised states, those one interval earlier on the teacher's trajectory, and the times of both."""
        # Read before gradients are switched off: with it comes the scene, through which the student learns.
        x0, noise = self.x0, self.noise
        with torch.no_grad():
            teacher = self._denoiser(self.objective.teacher)
        eps = self.objective.teacher.sampling.solver.temperature * noise.eps
        return self.objective.trajectory(teacher, x0, eps, noise.t, step=self.step, training=self.training)

    @cached_property
    def x0_hat(self) -> Float[Tensor, "b g d"]:
        """The student's prediction."""
        x_t, _, t, _ = self.trajectory
        return self.generator.predict_x0(x_t, t, self.anchored)

    @cached_property
    def target_x0(self) -> Float[Tensor, "b g d"]:
        """The target's prediction one interval earlier."""
        _, x_s, _, s = self.trajectory
        with torch.no_grad():
            return self._denoiser(self.objective.target)(x_s, s)

    def _denoiser(self, model: GraspGenerator) -> Denoise:
        # The encoder is the teacher's in all three models: the scene is encoded once; what reads it is each one's own.
        scene = replace(self.scene, keys_values=model.decoder.keys_values(self.scene.tokens.features))
        if model.conditioning.conditions:
            scene = model.conditioning.encode_prompts(scene, self.prompts())
        anchored = model.anchor(scene, self.positive_index, self.set_id)
        return lambda x, t: model.predict_x0(x, t, anchored)


class Distillation(ConsistencyObjective):
    """Trains a consistency model of grasps.

    Only what denoises is trained: encoder, heads, prompts' encoders and statistics stay the teacher's. Noise has the
    temperature that the teacher is sampled at: a student that begins from other noise than it learned from has never
    seen the states that it begins from.

    Args:
        teacher: checkpoint of a diffusion model on any continuous process.
        terms: what is minimized, by name.
        anchors: how true grasps are assigned to tokens.
        num_grasps: successful grasps per scene in a training batch.
        target_decay: of the running average of the student that gives the targets; 0 takes the student itself.
        intervals: parts the trajectory is divided into at the beginning and at the end of training; doubled in between.
        total_steps: of the training.
        seed: of all noise.
    """

    context_type = DistillationContext

    def __init__(
        self,
        *,
        teacher: str,
        terms: dict[str, LossTerm],
        anchors: AnchorAssignment,
        num_grasps: int,
        target_decay: float,
        intervals: tuple[int, int],
        total_steps: int,
        seed: int,
    ) -> None:
        super().__init__(
            teacher=teacher,
            terms=terms,
            target_decay=target_decay,
            intervals=intervals,
            total_steps=total_steps,
            seed=seed,
        )
        self.anchors, self.num_grasps = anchors, num_grasps

    def load_teacher(self, generator: Any) -> GraspGenerator:
        """Return the teacher; encoder and heads of the student are frozen."""
        if not isinstance(generator, GraspGenerator) or not isinstance(
            generator.process, ConsistencyDiffusion
        ):
            raise ValueError(
                "model.objective=distillation trains a student of its teacher; model.generator is another kind. Pass "
                "model=consistency."
            )
        teacher = checked_teacher(self._teacher_path, generator.hand.name)
        for part in (generator.encoder, *generator.heads.values()):
            part.requires_grad_(False)
        if generator.conditioning.null_color is not None:  # part of what the encoder reads
            generator.conditioning.null_color.requires_grad_(False)
        return teacher


def build_student(*, teacher: str, hand: str) -> GraspGenerator:
    """Return a copy of a diffusion model as a consistency model: the generator of ``config/model/consistency.yaml``.

    It is sampled as its teacher, guidance, order and temperature included, by the solver of consistency models.

    Args:
        teacher: checkpoint of a diffusion model on any continuous process.
        hand: name of the hand, which must be the teacher's.

    Raises:
        ValueError: a model that cannot be distilled, or of another hand.
    """
    trained = checked_teacher(teacher, hand)
    assert trained.config is not None
    solver = {
        **load_group("sampling/solver", "consistency"),
        "temperature": trained.sampling.solver.temperature,
    }
    config = {
        **trained.config,
        "process": {
            "_target_": f"{ConsistencyDiffusion.__module__}.{ConsistencyDiffusion.__name__}",
            "diffusion": trained.config["process"],
        },
        "sampling": {**trained.config["sampling"], "solver": solver},
    }
    student = build_generator(config)
    student.load_state_dict(wrap_process(trained.state_dict()))
    return student


def checked_teacher(checkpoint: str, hand: str) -> GraspGenerator:
    """Return the generator of a checkpoint that can be distilled.

    Raises:
        ValueError: a CVAE, a distilled or a discrete model, or one of another hand.
    """
    generator, _ = load_generator(checkpoint)
    process = generator.process
    if isinstance(process, ConsistencyDiffusion):
        raise ValueError(
            f"model.generator.teacher={checkpoint} is distilled already; distill the model it came from."
        )
    if not isinstance(process, Diffusion):
        raise ValueError(
            f"model.generator.teacher={checkpoint} is a CVAE, which samples in one step already."
        )
    if not process.noise.continuous:
        raise ValueError(
            f"model.generator.teacher={checkpoint} is known at discrete steps only (process={process.noise.name}); "
            "distillation needs trajectories in continuous time: train with model/generator/process=cosine, vp_linear, "
            "edm or flow."
        )
    if generator.hand.name != hand:
        raise ValueError(
            f"model.generator.teacher={checkpoint} moves hand={generator.hand.name}. Pass hand={generator.hand.name}."
        )
    return generator
