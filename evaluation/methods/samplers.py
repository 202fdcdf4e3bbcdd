"""Where grasps come from, seen from the judge: anything that answers items with grasps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.pool import moved
from sceneleapultra.models import GraspModel
from sceneleapultra.models.guidance.guide import Guidance
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.geometry.frames import CAMERA_MODES
from sceneleapultra.utils.records import Grasps


@dataclass(frozen=True)
class Proposal:
    """Grasps for one item in the world frame, with a score where the method has one (higher is better)."""

    grasps: Grasps
    score: Float[np.ndarray, "k"]  # NaN without one


@runtime_checkable
class GraspSampler(Protocol):
    """A method under test."""

    @property
    def name(self) -> str:
        """Row in tables."""
        ...

    @property
    def given(self) -> str:
        """What it knows of a test item."""
        ...

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Return up to ``k`` grasps for each item, the same for the same items and seed."""
        ...


@dataclass(frozen=True)
class ModelSampler:
    """A trained model, asked the way a user's program asks it: one partial cloud at a time."""

    model: GraspModel
    sampler: str
    steps: int
    temperature: float
    seed: int
    rank: str
    guidance: Guidance | None = None
    prompted: bool = False  # whether the model is told the family of the object
    name: str = "model"
    given: str = "the partial cloud of one view, with the target's points marked"

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Sample ``k`` grasps for each item; the noise is keyed by (seed, item)."""
        return [self._sample(item, k) for item in items]

    def _sample(self, item: Item, k: int) -> Proposal:
        # A model of a camera's frame is asked in that frame, every other one in the world.
        camera = self.model.module.denoiser.normalizer.frame in CAMERA_MODES
        T_world_cloud = item.view.T_world_cam if camera else np.eye(4)
        R, t = T_world_cloud[:3, :3], T_world_cloud[:3, 3]
        viewpoint, up = (item.view.T_world_cam[:3, 3] - t) @ R, R[2]
        made = self.model.sample(
            ((item.view.points - t) @ R).astype(np.float32),
            k,
            object_mask=item.target_mask,
            viewpoint=tuple(viewpoint.tolist()),
            up=tuple(up.tolist()),
            seed=keyed_seed(self.seed, item.index),
            scene_rgb=item.view.rgb if self.model.sees_color else None,
            sampler=self.sampler,
            steps=self.steps,
            temperature=self.temperature,
            rank=self.rank,
            guidance=self.guidance,
            prompt=item.object.family if self.prompted else None,
        )
        grasps = Grasps(made.hand_pose, made.pregrasp_qpos, made.squeeze_qpos)
        return Proposal(moved(grasps, T_world_cloud) if camera else grasps, made.score)


def unscored(grasps: Grasps) -> Proposal:
    """Return a proposal of a method that does not rank its grasps."""
    return Proposal(grasps, np.full(len(grasps), np.nan))
