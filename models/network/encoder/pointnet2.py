"""PointNet++ (Qi et al. 2017) in pure PyTorch, with patches expressed in local frames."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.network.encoder.grouped import grouped_maximum
from sceneleapultra.models.network.encoder.hierarchy import Patch, PatchNetwork, PointHierarchy
from sceneleapultra.models.network.encoder.pooling import max_over_neighbors
from sceneleapultra.utils.geometry.points import gather


class SetAbstraction(PatchNetwork):
    """A shared network on every neighbor, in the center's frame, then the maximum."""

    def __init__(self, dim_geometry: int, dim_in: int, widths: tuple[int, ...]) -> None:
        super().__init__(dim_geometry, dim_in, widths)
        sizes = [dim_geometry + dim_in, *widths]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], widths, strict=True))
        self.norm = nn.LayerNorm(widths[-1])
        self.dim_geometry = dim_geometry

    def forward(self, patch: Patch, features: Float[Tensor, "b n c"] | None) -> Float[Tensor, "b s c2"]:
        """Pool the neighbors of every center."""
        geometry, index = patch
        first, *rest = self.layers
        assert isinstance(first, nn.Linear)
        to_geometry, to_features = first.weight.split(
            [self.dim_geometry, first.in_features - self.dim_geometry], dim=1
        )
        # The layer is linear: what depends on the neighbor alone is computed once per point, not per pair.
        point = None if features is None else nn.functional.linear(features, to_features)
        # A compiler makes its own passes of plain operations.
        if rest and not torch.compiler.is_compiling():
            weights = [to_geometry, *(layer.get_parameter("weight") for layer in rest)]
            biases = [layer.get_parameter("bias") for layer in self.layers]
            pooled = grouped_maximum(geometry, index, point, weights, biases)
        else:
            h = nn.functional.linear(geometry, to_geometry, first.bias)
            h = h if point is None else h + gather(point, index)
            for layer in rest:
                h = layer(nn.functional.gelu(h))
            pooled = max_over_neighbors(h)
        normed: Tensor = self.norm(pooled)
        return normed


class PointNet2(PointHierarchy):
    """Levels of set abstraction; see :class:`PointHierarchy` for the arguments."""

    network = SetAbstraction
