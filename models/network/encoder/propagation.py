"""How coarse tokens speak to finer ones: interpolated from the three nearest, joined with what the finer ones know.

Source: Qi et al. 2017, PointNet++, section 3.4.
"""

from dataclasses import replace

import torch
from torch import nn

from sceneleapultra.models.network.tokens import SceneTokens
from sceneleapultra.utils.geometry.points import Backend, interpolate


class FeaturePropagation(nn.Module):
    """Joins coarse features with the finer level's own and gives features of width ``dim_out``."""

    def __init__(self, dim_coarse: int, dim_fine: int, dim_out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim_coarse + dim_fine, dim_out),
            nn.GELU(),
            nn.Linear(dim_out, dim_out),
            nn.LayerNorm(dim_out),
        )

    def forward(self, fine: SceneTokens, coarse: SceneTokens, backend: Backend) -> SceneTokens:
        """Return the finer tokens with new features."""
        passed = interpolate(fine.xyz, coarse.xyz, coarse.features, coarse.valid, backend)
        return replace(fine, features=self.mlp(torch.cat([passed, fine.features], dim=-1)))
