"""How states are normalized where a model serves many hands: palms by the data, joints by their limits."""

from typing import Any

import torch
from torch import Tensor

from sceneleapultra.hands import Hand
from sceneleapultra.models.representation import StateLayout, StateNormalizer
from sceneleapultra.utils.training.pose_statistics import Statistics

_SHARE_OF_RANGE = (
    0.15  # deviation of a joint's positions in grasps; a LEAP hand's are 0.08 to 0.36 of its ranges
)
_SQUEEZE_RAD = 0.15  # deviation of a joint's squeeze; a LEAP hand's are 0.02 to 0.28


class PalmNormalizer(StateNormalizer):
    """Normalizes the states of one hand; what it keeps in a checkpoint knows no hand.

    Args:
        hand: whose joints they are.
    """

    palm_mean: Tensor
    palm_std: Tensor

    def __init__(self, hand: Hand) -> None:
        layout = StateLayout(hand.num_joints)
        super().__init__(layout.dim)
        mean, std, groups = self.mean, self.std, layout.groups
        low, high = hand.joint_limits.unbind(-1)
        mean[groups["joints"]] = (low + high) / 2
        std[groups["joints"]] = (high - low) * _SHARE_OF_RANGE
        std[groups["squeeze"]] = hand.joint_scale * _SQUEEZE_RAD
        del self.mean, self.std
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self._palm = [*range(layout.dim)[groups["translation"]], *range(layout.dim)[groups["rotation"]]]
        self.register_buffer("palm_mean", torch.zeros(len(self._palm)))
        self.register_buffer("palm_std", torch.ones(len(self._palm)))

    @property
    def columns(self) -> list[int]:
        """Those of the palm's pose."""
        return self._palm

    def set_statistics(self, statistics: Statistics) -> None:
        """Take the statistics of palms; those of joints are the hand's own."""
        self.palm_mean.copy_(torch.from_numpy(statistics.mean))
        self.palm_std.copy_(torch.from_numpy(statistics.scale))
        self.set_origin(statistics)
        self.spread()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what accompanies the statistics, after which they are all there."""
        super().set_extra_state(state)
        self.spread()

    def spread(self) -> None:
        """Put the statistics of palms, which generators of several hands share, among those of the joints."""
        self.mean[self._palm] = self.palm_mean
        self.std[self._palm] = self.palm_std
