"""A trained model as a method under test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Proposal
from sceneleapultra.evaluation.methods.training_index import transform_grasps
from sceneleapultra.evaluation.part_prompts import Prompt, words_for
from sceneleapultra.hands import Hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.models.sampler import GraspSampler
from sceneleapultra.models.sampling_config import SamplingConfig
from sceneleapultra.reporting.results import Role
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.geometry.frames import CAMERA_MODES
from sceneleapultra.utils.requests import GraspRequest


@dataclass(frozen=True)
class ModelMethod:
    """A trained model, called as a user's program calls it: one partial cloud at a time."""

    model: GraspSampler
    sampling: SamplingConfig | Mapping[str, Any]
    seed: int
    prompt: Prompt = "none"  # what the words are, see ``words_for``
    name: str = "model"
    role: Role = Role.MODEL
    privileged_inputs: str = "none"

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Sample ``k`` grasps for each item; the noise is keyed by (seed, item)."""
        return [self._sample(item, k) for item in items]

    def _sample(self, item: Item, k: int) -> Proposal:
        # A model of a camera frame gets the cloud in that frame, every other one in the world.
        camera = self.model.frame in CAMERA_MODES
        T_world_cloud = item.view.T_world_cam if camera else np.eye(4)
        R, t = T_world_cloud[:3, :3], T_world_cloud[:3, 3]
        viewpoint, up = (item.view.T_world_cam[:3, 3] - t) @ R, R[2]
        request = GraspRequest(
            points=(item.view.points - t) @ R,
            object_mask=item.target_mask,
            viewpoint=viewpoint,
            up=up,
            rgb=item.view.rgb if self.model.uses_color else None,
        )
        made = self.model.sample_request(
            request,
            k,
            seed=keyed_seed(self.seed, item.index),
            sampling=self.sampling,
            **words_for(self.prompt, item),
        )
        grasps = made.grasps
        return Proposal(transform_grasps(grasps, T_world_cloud) if camera else grasps, made.score)


def other_model(
    *, checkpoint: str, name: str, sampling: dict[str, Any], seed: int, hand: Hand, device: str
) -> ModelMethod:
    """Return another trained model, to compare with the one under test.

    Args:
        checkpoint: a file, or the name of a shipped model.
        name: row in tables.
        sampling: changes of its own sampling, by name.
        seed: of its noise.
        hand: of the test.
        device: where it samples.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it is a model of another hand.
    """
    model = load_grasp_model(find_checkpoint(checkpoint), device=device)
    if model.hand.name != hand.name:
        raise ValueError(
            f"baselines: {checkpoint} is a model of the hand {model.hand.name}, the test's is {hand.name}. Compare "
            "with a model of this hand."
        )
    return ModelMethod(
        model=model,
        sampling=model.generator.sampling.changed(**sampling),
        seed=seed,
        name=name,
        role=Role.BASELINE,
        privileged_inputs="none; trained elsewhere",
    )
