"""How a model learns to sample in one step: consistency distillation of a trained diffusion model.

Song et al. 2023 (consistency models, algorithm 2) with the curriculum of Song & Dhariwal 2024: the student's answers at
two neighboring points of the teacher's trajectory must agree, and at t = 0 its answer is its input.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from sceneleapultra.hands import GraspPose
from sceneleapultra.models.denoiser import Anchored
from sceneleapultra.models.diffuser import GraspDiffuser
from sceneleapultra.models.diffusion.path import Path, like
from sceneleapultra.models.diffusion.samplers import Denoise
from sceneleapultra.models.inference import load_grasp_model
from sceneleapultra.models.learning import Draws
from sceneleapultra.models.losses import group_losses
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import build, load_group

_BOUNDARY = 0.05  # noise level, in standard deviations, below which the answer becomes the input


class ConsistencyModel(GraspDiffuser):
    """A model that answers every noised state with the end of its trajectory; sampled by sampler=consistency."""

    distilled = True

    def predicted_x0(
        self, x_t: Float[Tensor, "b g d"], t: Float[Tensor, "b"], anchored: Anchored
    ) -> Float[Tensor, "b g d"]:
        """Return the clean states at the end of the trajectories through noised ones."""
        return with_boundary(self.path, x_t, super().predicted_x0(x_t, t, anchored), t)


class ConsistencyDistiller(ConsistencyModel):
    """Trains a consistency model that starts as a copy of its teacher; its checkpoints hold the student alone.

    Only what denoises is trained: encoder, anchors, scorer and statistics stay the teacher's.

    Args:
        teacher: checkpoint of a diffusion model on any continuous path.
        hand: name of the hand, which must be the teacher's.
        num_grasps: successful grasps per scene in a training batch.
        target_decay: of the running average of the student that gives the targets; 0 takes the student itself.
        intervals: parts the trajectory is divided into at the beginning and at the end of training; doubled in between.
        total_steps: of the training.
        seed: of all noise.
        optimizer: partial of an optimizer over parameter groups.
        scheduler: partial of a learning-rate schedule over an optimizer.
    """

    def __init__(
        self,
        *,
        teacher: str,
        hand: str,
        num_grasps: int,
        target_decay: float,
        intervals: tuple[int, int],
        total_steps: int,
        seed: int,
        optimizer: Callable[..., Any] | None,
        scheduler: Callable[..., Any] | None,
    ) -> None:
        if not 0.0 <= target_decay < 1.0:
            raise ValueError(f"model.target_decay must lie in [0, 1), got {target_decay}.")
        if not 2 <= intervals[0] <= intervals[1]:
            raise ValueError(f"model.intervals needs 2 <= first <= last, got {list(intervals)}.")
        taught = _checked_teacher(teacher, hand)
        student = {
            **taught.config["model"],
            "_target_": "sceneleapultra.models.distill.ConsistencyModel",
            "sampler": OmegaConf.to_container(load_group("model/sampler", "consistency")),
            "num_grasps": num_grasps,
            "density": None,
            "seed": seed,
            "optimizer": None,
            "scheduler": None,
        }
        super().__init__(**_parts(student) | {"optimizer": optimizer, "scheduler": scheduler})
        self.load_state_dict(taught.state_dict())
        for part in (self.denoiser.encoder, self.denoiser.anchor_head, self.scorer):
            part.requires_grad_(False)
        if self.denoiser.no_color is not None:  # part of what the encoder sees
            self.denoiser.no_color.requires_grad_(False)
        self.student_config = student
        self.target_decay, self.intervals, self.total_steps = target_decay, intervals, total_steps
        target = ConsistencyModel(**_parts(student))
        target.load_state_dict(taught.state_dict())
        # In a tuple, so that they are no parts of this module: not trained, not shared out, not in its weights.
        self._frozen = (taught.requires_grad_(False).eval(), target.requires_grad_(False).eval())

    def losses(self, batch: GraspBatch, draws: Draws) -> dict[str, Tensor]:
        """Return the disagreement between neighboring points of trajectories, by pose group.

        Raises:
            ValueError: a batch without grasps.
        """
        hand_pose, squeeze = batch.hand_pose, batch.squeeze_qpos
        if hand_pose is None or squeeze is None or batch.grasp_valid is None or batch.grasp_success is None:
            raise ValueError("Distillation needs batches with grasps; this one has none.")
        g, (teacher, target) = self.num_grasps, self._frozen
        t = self.path.training_time(draws.t)
        pose = GraspPose.from_hand_pose(hand_pose[:, :g])
        scene = self.encoded_scene(batch)
        index, near = self.assign_anchors(scene.tokens, pose, draws.gumbel[:, :g])
        positive = (batch.grasp_valid & batch.grasp_success)[:, :g] & near
        set_id = positive.long() - 1  # one set of all that count
        states = self.denoiser.states(pose, squeeze[:, :g], scene.tokens, index)

        def look(model: GraspDiffuser) -> Denoise:
            seen = model.denoiser.anchor(model.encoded_scene(batch), index, set_id)
            return lambda x, t: model.predicted_x0(x, t, seen)

        with torch.no_grad():
            x0 = self.denoiser.normalizer.normalize(states)
            x_t, x_s, s = neighbors(
                self.path, look(teacher), x0, draws.eps, t, self.intervals_at(self.global_step)
            )
            wanted = look(target)(x_s, s)
        answer = self.predicted_x0(x_t, t, self.denoiser.anchor(scene, index, set_id))
        return group_losses(answer, wanted, torch.ones_like(s), positive, self.denoiser.codec.layout)

    def intervals_at(self, step: int) -> int:
        """Return how many parts the trajectory has at a step of training (Song & Dhariwal 2024, section 3.4)."""
        first, last = self.intervals
        stages = math.floor(math.log2(last / first)) + 1
        return min(first * 2 ** (step * stages // max(1, self.total_steps)), last)

    def on_fit_start(self) -> None:
        """Bring teacher and target to the device of the student."""
        for model in self._frozen:
            model.to(self.device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the target follow the student."""
        with torch.no_grad():
            pairs = zip(self._frozen[1].denoiser.parameters(), self.denoiser.parameters(), strict=True)
            for average, weight in pairs:
                average.lerp_(weight, 1.0 - self.target_decay)

    @property
    def states_depend_on(self) -> None:
        """Keep the teacher's statistics."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the student as a model of its own, and the target, from which training continues."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["model_config"] = {**self.config, "model": self.student_config}
        checkpoint["target"] = self._frozen[1].state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with the target that was saved."""
        self._frozen[1].load_state_dict(checkpoint["target"])


def with_boundary(path: Path, x_t: Tensor, x0: Tensor, t: Float[Tensor, "b"]) -> Tensor:
    """Blend a predicted clean sample with the state, so that the answer at t = 0 is the state itself.

    ``c_skip x_t + c_out x0`` with c_skip = 1 and c_out = 0 at t = 0 and nearly 0 and 1 elsewhere (Luo et al. 2023,
    eq. 9), so that a student begins as its teacher's denoiser.
    """
    squared = like(path.sigma(t), x_t).square()
    weight = squared / (squared + _BOUNDARY**2)
    return (1.0 - weight) * x_t + weight * x0


def neighbors(
    path: Path, teacher: Denoise, x0: Tensor, eps: Tensor, t: Float[Tensor, "b"], intervals: int
) -> tuple[Tensor, Tensor, Float[Tensor, "b"]]:
    """Return noised samples, the states ``1 / intervals`` earlier on the teacher's trajectories, and their times.

    Below the path's ``t_min`` that state is the clean sample that the teacher predicts.
    """
    s = t - 1.0 / intervals
    s = torch.where(s < path.t_min, torch.zeros_like(s), s)
    x_t = path.noised(x0, eps, t)
    guess = teacher(x_t, t)
    noise = (x_t - like(path.alpha(t), x_t) * guess) / like(path.sigma(t), x_t)
    return x_t, path.noised(guess, noise, s), s


def _checked_teacher(checkpoint: str, hand: str) -> GraspDiffuser:
    module = load_grasp_model(checkpoint).module
    if not isinstance(module, GraspDiffuser):
        raise ValueError(f"model.teacher={checkpoint} is a CVAE, which samples in one step already.")
    if module.distilled:
        raise ValueError(f"model.teacher={checkpoint} is distilled already; distil the model it came from.")
    if not module.path.continuous:
        raise ValueError(
            f"model.teacher={checkpoint} knows discrete steps only (model.path={module.path.name}); distillation needs "
            "trajectories in continuous time: train with model/process@model.path=cosine, vp_linear, edm or flow."
        )
    if module.hand.name != hand:
        raise ValueError(
            f"model.teacher={checkpoint} moves hand={module.hand.name}. Pass hand={module.hand.name}."
        )
    return module


def _parts(config: dict[str, Any]) -> dict[str, Any]:
    """Build the arguments of a model from its saved configuration."""
    built = {}
    for key, value in config.items():
        if isinstance(value, dict):
            value = build(OmegaConf.create(value))
        built[key] = value
    del built["_target_"]
    return built
