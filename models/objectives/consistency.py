"""How a model learns to sample in one step: consistency distillation of a trained diffusion model.

Song et al. 2023 (consistency models, algorithm 2) with the curriculum of Song & Dhariwal 2024: the student's
predictions at two neighboring points of the teacher's trajectory must agree, and at t = 0 its prediction is its input.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.diffusion.process import NoiseProcess, like
from sceneleapultra.models.diffusion.solvers import Denoise
from sceneleapultra.models.objectives.objective import Objective
from sceneleapultra.models.objectives.term import LossTerm

Trajectory = tuple[Tensor, Tensor, Float[Tensor, "b"], Float[Tensor, "b"]]


class ConsistencyObjective(Objective):
    """Trains a consistency model that starts as a copy of its teacher; what it is a model of, subclasses say.

    Args:
        teacher: checkpoint of a diffusion model on any continuous process.
        terms: what is minimized, by name.
        target_decay: of the running average of the student that gives the targets; 0 takes the student itself.
        intervals: parts the trajectory is divided into at the beginning and at the end of training; doubled in between.
        total_steps: of the training.
        seed: of all noise.
    """

    measures_statistics = False

    def __init__(
        self,
        *,
        teacher: str,
        terms: dict[str, LossTerm],
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
        self.target_decay, self.intervals, self.total_steps = target_decay, intervals, total_steps
        self._teacher_path = teacher
        # In a tuple, so that they are no parts of this module: not trained, not shared out, not in its weights.
        self._frozen: tuple[Any, Any] | None = None

    @abstractmethod
    def load_teacher(self, generator: Any) -> Any:
        """Return the teacher of a generator; freeze what that does not learn.

        Raises:
            ValueError: no consistency model, or a teacher that cannot be distilled into it.
        """

    @property
    def teacher(self) -> Any:
        """The trained diffusion model."""
        assert self._frozen is not None
        return self._frozen[0]

    @property
    def target(self) -> Any:
        """The running average of the student."""
        assert self._frozen is not None
        return self._frozen[1]

    def prepare(self, generator: Any) -> None:
        """Load the teacher, make the target, and freeze what is not trained."""
        teacher = self.load_teacher(generator)
        assert generator.config is not None
        target = build_generator(generator.config)
        target.load_state_dict(generator.state_dict())
        self._frozen = (teacher.requires_grad_(False).eval(), target.requires_grad_(False).eval())

    def context(self, generator: Any, batch: Any, *, step: int, training: bool) -> Any:
        """Return the context of a step; teacher and target follow the student to its device."""
        for model in (self.teacher, self.target):
            if model.device != generator.device:
                model.to(generator.device)
        return super().context(generator, batch, step=step, training=training)

    def trajectory(
        self,
        teacher: Denoise,
        x0: Tensor,
        eps: Tensor,
        uniform: Float[Tensor, "b"],
        *,
        step: int,
        training: bool,
    ) -> Trajectory:
        """Return noised states, those one interval earlier on the teacher's trajectory, and the times of both.

        Args:
            teacher: the teacher on the scenes of a batch.
            x0: clean states.
            eps: their noise.
            uniform: numbers in [0, 1), from which times are made.
            step: of training.
            training: false in validation, where there are as many intervals as at the end of training.
        """
        process: NoiseProcess = self.teacher.process.noise
        with torch.no_grad():
            t = process.sample_t(uniform)
            intervals = self.intervals_at(step if training else self.total_steps)
            x_t, x_s, s = neighbors(process, teacher, x0, eps, t, intervals)
        return x_t, x_s, t, s

    def intervals_at(self, step: int) -> int:
        """Return how many parts the trajectory has at a step of training (Song & Dhariwal 2024, section 3.4)."""
        first, last = self.intervals
        stages = math.floor(math.log2(last / first)) + 1
        return min(first * 2 ** (step * stages // max(1, self.total_steps)), last)

    def after_step(self, generator: Any) -> None:
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


def wrap_process(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a teacher's weights as its student names them, whose process is made of the teacher's."""
    return {
        key.replace("process.", "process.diffusion.", 1) if key.startswith("process.") else key: value
        for key, value in weights.items()
    }


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
