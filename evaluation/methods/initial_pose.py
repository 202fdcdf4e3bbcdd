"""The generator's own start as a baseline: a palm placed by geometry, fingers as they are on average."""

from collections.abc import Sequence

import numpy as np
import torch

from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.base import Proposal, unscored
from sceneleapultra.evaluation.methods.training_index import TrainingIndex
from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.reporting.results import Role
from sceneleapultra.simulation.synthesis import initial_palm_poses
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.records import Grasps

_MAX_ROUNDS = 10  # of drawing, for objects that are hard to reach


class InitialPalmPose:
    """Where the generator starts: a palm pose around the object, with the mean fingers of the training grasps.

    Args:
        hand: the hand.
        pool: whose mean fingers are used.
        squeeze: how far the flexion joints close beyond the grasp (rad).
        seed: of the palm poses.
    """

    name = "initial palm pose"
    privileged_inputs = "the true shape and pose of the object and its surroundings"
    role = Role.BASELINE

    def __init__(self, *, hand: Hand, pool: TrainingIndex, squeeze: float, seed: int) -> None:
        self.hand, self.seed = hand, seed
        self.qpos, self.pregrasp = (q.astype(np.float64) for q in pool.mean_qpos())
        low, high = hand.joint_limits.numpy().T
        self.squeezed = np.clip(self.qpos + squeeze * hand.closing.numpy(), low, high)
        self.settings = build(load_group("synthesis", "sim_close")).placement

    def sample_items(self, items: Sequence[Item], k: int) -> list[Proposal]:
        """Place ``k`` palms around each item's object."""
        return [self._sample(item, k) for item in items]

    def _sample(self, item: Item, k: int) -> Proposal:
        rng = np.random.default_rng([self.seed, item.index])
        rounds: list[np.ndarray] = []
        while sum(map(len, rounds)) < k and len(rounds) < _MAX_ROUNDS:
            rounds.append(initial_palm_poses(self.hand, item.scene, item.target, k, rng, self.settings))
        T_world_base = np.concatenate(rounds)[:k]
        n = len(T_world_base)
        pose = GraspPose.from_matrix(
            torch.from_numpy(T_world_base), torch.from_numpy(self.qpos).expand(n, -1)
        )
        hand_pose = pose.to_hand_pose().numpy()
        return unscored(Grasps(hand_pose, np.tile(self.pregrasp, (n, 1)), np.tile(self.squeezed, (n, 1))))
