"""The random numbers of one training step, keyed by (seed, step, item): the same for any split over processes."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.models.grasp_space import GraspSpace
from sceneleapultra.utils.batch import GraspBatch


@dataclass(frozen=True)
class StepNoise:
    """The random numbers of one training step."""

    t: Float[Tensor, "b"]  # uniform in [0, 1)
    eps: Float[Tensor, "b g d"]  # standard normal
    gumbel: Float[Tensor, "b a s"]  # of the choice of anchors
    split: Int[Tensor, "b"]  # place at which the grasps of an item are divided into two sets
    surface: Float[Tensor, "b p"]  # uniform; decides which surface points a head is shown
    dropped: dict[str, Bool[Tensor, "b"]] = field(default_factory=dict)  # scenes without a condition


def draw_step_noise(
    generator: GraspSpace, batch: GraspBatch, *, num_grasps: int, seed: int, step: int
) -> StepNoise:
    """Draw the random numbers of a step.

    Args:
        generator: whose tokens, input and conditions they are for.
        batch: with grasps.
        num_grasps: successful grasps per scene.
        seed: of the training.
        step: of the training.
    """
    assert batch.hand_pose is not None
    total, num_tokens = batch.hand_pose.shape[1], generator.encoder.num_tokens
    drop_prob = generator.drop_prob
    g = min(num_grasps, total)
    num_surface = min(generator.contact_points or num_tokens, batch.scene_pc.shape[1])
    rows = []
    for item in batch.item_index:
        key = np.random.SeedSequence([seed, step, item]).generate_state(1, np.uint64)[0]
        random = torch.Generator().manual_seed(int(key))
        rows.append(
            (
                torch.rand((), generator=random),
                torch.randn(g, generator.dim_input, generator=random),
                torch.rand(total, num_tokens, generator=random),
                torch.randint(1, g + 1, (), generator=random),
                torch.rand(len(drop_prob), generator=random),
                torch.rand(num_surface, generator=random),
            )
        )
    t, eps, uniform, split, chance, surface = (
        torch.stack(column).to(generator.device) for column in zip(*rows, strict=True)
    )
    return StepNoise(
        t=t,
        eps=eps,
        gumbel=-torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7))),
        split=split,
        surface=surface,
        dropped={name: chance[:, i] < p for i, (name, p) in enumerate(drop_prob.items())},
    )
