"""Where the joints that follow are, given those that move by themselves: batched and differentiable."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.hands.description import Coupling


class Couplings(nn.Module):
    """The followers of one hand.

    Axes: j joints that move by themselves, q all joints, followers last.

    Args:
        joints: names of those that move by themselves, in the order of poses.
        followers: what each follower does, by its name, in the order in which they are returned.
        dtype: of all buffers.
    """

    leader: Int[Tensor, "f"]
    knots: Float[Tensor, "f k"]
    coefficients: Float[Tensor, "f k d"]
    source: Int[Tensor, "q"]  # which joint of a pose moves each joint

    def __init__(
        self, joints: Sequence[str], followers: Mapping[str, Coupling], dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.names = (*joints, *followers)
        couplings = list(followers.values())
        leader = [0 if c.leader is None else joints.index(c.leader) for c in couplings]
        pieces = max((len(c.knots) for c in couplings), default=0)
        degree = max((len(row) for c in couplings for row in c.coefficients), default=0)
        knots = np.full((len(couplings), pieces), np.inf)  # a padding piece begins nowhere
        coefficients = np.zeros((len(couplings), pieces, degree))
        for f, coupling in enumerate(couplings):
            knots[f, : len(coupling.knots)] = coupling.knots
            for k, row in enumerate(coupling.coefficients):
                coefficients[f, k, : len(row)] = row
        source = torch.tensor([*range(len(joints)), *leader], dtype=torch.int64)
        self.register_buffer("leader", torch.tensor(leader, dtype=torch.int64), persistent=False)
        self.register_buffer("knots", torch.tensor(knots, dtype=dtype), persistent=False)
        self.register_buffer("coefficients", torch.tensor(coefficients, dtype=dtype), persistent=False)
        self.register_buffer("source", source, persistent=False)

    def forward(self, qpos: Float[Tensor, "*b j"]) -> Float[Tensor, "*b q"]:
        """Return the positions of all joints."""
        if not len(self.leader):
            return qpos
        beyond, coefficients = self._piece(qpos)
        followed = coefficients[..., -1]
        for i in range(coefficients.shape[-1] - 2, -1, -1):
            followed = followed * beyond + coefficients[..., i]
        return torch.cat((qpos, followed), dim=-1)

    def slopes(self, qpos: Float[Tensor, "*b j"]) -> Float[Tensor, "*b q"]:
        """Return how fast each joint moves with the one that moves it (``source``): 1 for the latter itself."""
        if not len(self.leader):
            return torch.ones_like(qpos)
        beyond, coefficients = self._piece(qpos)
        slope = torch.zeros_like(beyond)
        for i in range(coefficients.shape[-1] - 1, 0, -1):
            slope = slope * beyond + i * coefficients[..., i]
        return torch.cat((torch.ones_like(qpos), slope), dim=-1)

    def _piece(self, qpos: Float[Tensor, "*b j"]) -> tuple[Float[Tensor, "*b f"], Float[Tensor, "*b f d"]]:
        """Return how far each leader is beyond the knot where its follower's piece begins, and that polynomial."""
        position = qpos.index_select(-1, self.leader)
        if self.knots.shape[1] == 1:
            return position - self.knots[:, 0], self.coefficients[:, 0].expand(*position.shape, -1)
        piece = (position[..., None] >= self.knots[:, 1:]).sum(-1)
        each = torch.arange(len(self.leader), device=qpos.device)
        return position - self.knots[each, piece], self.coefficients[each, piece]
