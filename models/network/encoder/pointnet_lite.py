"""The light encoder: networks run on points before they are grouped, so that a pair costs a sum and not a network.

PointNet++ runs its network on every pair of center and neighbor: N k C^2. Here it runs on every point, N C^2, and a
pair adds only a linear map of the neighbor's place; the maximum of these sums is followed by a layer per center.
The separation is that of ASSANet (Qian et al. 2021, section 3.2); places enter with their second moments, so that a
linear map of one neighbor can tell bent from flat.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.network.encoder.hierarchy import Patch, PatchNetwork, PointHierarchy
from sceneleapultra.models.network.encoder.pooling import max_over_neighbors
from sceneleapultra.utils.geometry.points import gather

_MOMENTS = 6  # products of two of the offset's three coordinates


class SeparableAbstraction(PatchNetwork):
    """All widths but the last before grouping, the last one after the maximum."""

    def __init__(self, dim_geometry: int, dim_in: int, widths: tuple[int, ...]) -> None:
        super().__init__(dim_geometry, dim_in, widths)
        if len(widths) < 2:
            raise ValueError(
                f"A level of PointNetLite needs widths before and after grouping, at least two, got {list(widths)}."
            )
        *hidden, last = widths
        sizes = [dim_in, *hidden] if dim_in else []
        self.before = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.place = nn.Linear(dim_geometry + _MOMENTS, hidden[-1])
        self.after = nn.Linear(hidden[-1], last)
        self.norm = nn.LayerNorm(last)

    def forward(self, patch: Patch, features: Float[Tensor, "b n c"] | None) -> Float[Tensor, "b s c2"]:
        """Pool the neighbors of every center."""
        geometry, index = patch
        x, y, z = geometry[..., :3].unbind(-1)
        moments = torch.stack([x * x, y * y, z * z, x * y, y * z, z * x], dim=-1)
        h = self.place(torch.cat([geometry, moments], dim=-1))
        if features is not None:
            for i, layer in enumerate(self.before):
                features = layer(features if i == 0 else nn.functional.gelu(features))
            h = h + gather(features, index)
        pooled: Tensor = self.norm(self.after(nn.functional.gelu(max_over_neighbors(h))))
        return pooled


class PointNetLite(PointHierarchy):
    """Levels of separable abstraction; see :class:`PointHierarchy` for the arguments."""

    network = SeparableAbstraction
