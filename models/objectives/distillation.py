"""How a model learns to sample in one step: consistency distillation of a trained diffusion model.

Song et al. 2023 (consistency models, algorithm 2) with the curriculum of Song & Dhariwal 2024: the student's
predictions at two neighboring points of the teacher's trajectory must agree, and at t = 0 its prediction is its input.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sceneleapultra.models.checkpoints.load import build_generator, load_generator
from sceneleapultra.models.diffusion.process import NoiseProcess, like
from sceneleapultra.models.diffusion.solvers import Denoise
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import AnchoredScene
from sceneleapultra.models.objectives.context import AnchorAssignment, PredictionContext
from sceneleapultra.models.objectives.matching import Index
from sceneleapultra.models.objectives.noise import StepNoise
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.term import LossTerm
from sceneleapultra.models.process import ConsistencyDiffusion, Diffusion
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import load_group


class DistillationContext(PredictionContext):
    """A step of consistency distillation: the student's prediction at one point of the teacher's trajectory, and the
    target's at the neighboring one.
    """

    matching = Index()

    @property
    def teacher(self) -> GraspGenerator:
        """The trained diffusion model."""
        return self.objective.teacher

    @property
    def process(self) -> NoiseProcess:
        """The teacher's noise process."""
        assert isinstance(self.teacher.process, Diffusion)
        return self.teacher.process.noise

    @property
    def intervals(self) -> int:
        """Parts the trajectory is divided into; in validation as at the end of training."""
        return self.objective.intervals_at(self.step if self.training else self.objective.total_steps)

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
    def trajectory(self) -> tuple[Tensor, Tensor, Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Noised states and their times, and the states and times one interval earlier on the teacher's trajectory."""
        # Read before gradients are switched off: with it comes the scene, through which the student learns.
        x0 = self.x0
        with torch.no_grad():
            t = self.process.sample_t(self.noise.t)
            teacher = self._denoiser(self.teacher)
            x_t, x_s, s = neighbors(self.process, teacher, x0, self.noise.eps, t, self.intervals)
            return x_t, x_s, t, s

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


class Distillation(Objective):
    """Trains a consistency model that starts as a copy of its teacher.

    Only what denoises is trained: encoder, heads, prompts' encoders and statistics stay the teacher's.

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

    measures_statistics = False
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
        super().__init__(terms=terms, seed=seed)
        if not 0.0 <= target_decay < 1.0:
            raise ValueError(f"model.objective.target_decay must lie in [0, 1), got {target_decay}.")
        if not 2 <= intervals[0] <= intervals[1]:
            raise ValueError(f"model.objective.intervals needs 2 <= first <= last, got {list(intervals)}.")
        self.anchors, self.num_grasps = anchors, num_grasps
        self.target_decay, self.intervals, self.total_steps = target_decay, intervals, total_steps
        self._teacher_path = teacher
        # In a tuple, so that they are no parts of this module: not trained, not shared out, not in its weights.
        self._frozen: tuple[GraspGenerator, GraspGenerator] | None = None

    @property
    def teacher(self) -> GraspGenerator:
        """The trained diffusion model."""
        assert self._frozen is not None
        return self._frozen[0]

    @property
    def target(self) -> GraspGenerator:
        """The running average of the student."""
        assert self._frozen is not None
        return self._frozen[1]

    def prepare(self, generator: Any) -> None:
        """Load the teacher, make the target, and freeze what is not trained."""
        if not isinstance(generator, GraspGenerator) or not isinstance(
            generator.process, ConsistencyDiffusion
        ):
            raise ValueError(
                "model.objective=distillation trains a student of its teacher; model.generator is another kind. Pass "
                "model=consistency."
            )
        teacher = checked_teacher(self._teacher_path, generator.hand.name)
        assert generator.config is not None
        target = build_generator(generator.config)
        target.load_state_dict(generator.state_dict())
        self._frozen = (teacher.requires_grad_(False).eval(), target.requires_grad_(False).eval())
        for part in (generator.encoder, *generator.heads.values()):
            part.requires_grad_(False)
        if generator.conditioning.null_color is not None:  # part of what the encoder reads
            generator.conditioning.null_color.requires_grad_(False)

    def context(
        self, generator: GraspGenerator, batch: GraspBatch, *, step: int, training: bool
    ) -> DistillationContext:
        """Return the context of a step; teacher and target follow the student to its device."""
        for model in (self.teacher, self.target):
            if model.device != generator.device:
                model.to(generator.device)
        return super().context(generator, batch, step=step, training=training)

    def intervals_at(self, step: int) -> int:
        """Return how many parts the trajectory has at a step of training (Song & Dhariwal 2024, section 3.4)."""
        first, last = self.intervals
        stages = math.floor(math.log2(last / first)) + 1
        return min(first * 2 ** (step * stages // max(1, self.total_steps)), last)

    def after_step(self, generator: GraspGenerator) -> None:
        """Let the target follow the student."""
        with torch.no_grad():
            pairs = zip(self.target.parameters(), generator.parameters(), strict=True)
            for average, weight in pairs:
                average.lerp_(weight, 1.0 - self.target_decay)

    def training_state(self) -> dict[str, Any]:
        """Return the target, from which training continues."""
        return {"target": self.target.state_dict()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Continue with the target that was saved."""
        self.target.load_state_dict(state["target"])


def build_student(*, teacher: str, hand: str) -> GraspGenerator:
    """Return a copy of a diffusion model as a consistency model: the generator of ``config/model/consistency.yaml``.

    Args:
        teacher: checkpoint of a diffusion model on any continuous process.
        hand: name of the hand, which must be the teacher's.

    Raises:
        ValueError: a model that cannot be distilled, or of another hand.
    """
    trained = checked_teacher(teacher, hand)
    assert trained.config is not None
    config = {
        **trained.config,
        "process": {
            "_target_": f"{ConsistencyDiffusion.__module__}.{ConsistencyDiffusion.__name__}",
            "diffusion": trained.config["process"],
        },
        "sampling": {
            **trained.config["sampling"],
            "solver": dict(load_group("sampling/solver", "consistency")),
        },
    }
    student = build_generator(config)
    student.load_state_dict(
        {
            key.replace("process.", "process.diffusion.", 1) if key.startswith("process.") else key: value
            for key, value in trained.state_dict().items()
        }
    )
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


def neighbors(
    process: NoiseProcess, teacher: Denoise, x0: Tensor, eps: Tensor, t: Float[Tensor, "b"], intervals: int
) -> tuple[Tensor, Tensor, Float[Tensor, "b"]]:
    """Return noised samples, the states ``1 / intervals`` earlier on the teacher's trajectories, and their times.

    Below the process's ``t_min`` that state is the clean sample that the teacher predicts.
    """
    s = t - 1.0 / intervals
    s = torch.where(s < process.t_min, torch.zeros_like(s), s)
    x_t = process.add_noise(x0, eps, t)
    guess = teacher(x_t, t)
    noise = (x_t - like(process.alpha(t), x_t) * guess) / like(process.sigma(t), x_t)
    return x_t, process.add_noise(guess, noise, s), s
