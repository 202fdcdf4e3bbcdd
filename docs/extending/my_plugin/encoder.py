"""An encoder without neighborhoods: a small network on each of the first points."""

import torch
from torch import nn

from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.tokens import Cloud, SceneTokens


class FirstPoints(SceneEncoder):
    """One token for each of the first points, of its place about the target."""

    min_points, use_color = 1, False

    def __init__(self, *, dim: int, num_tokens: int) -> None:
        super().__init__()
        self.dim, self.num_tokens, self.num_centers = dim, num_tokens, num_tokens
        self.mlp = nn.Sequential(nn.Linear(4, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, cloud: Cloud) -> SceneTokens:
        """Encode the first points; the others are not read."""
        n = self.num_tokens  # clouds are in farthest-point order: every prefix is a fair sample
        xyz, valid, target = cloud.points[:, :n], cloud.valid[:, :n], cloud.target[:, :n]
        weight = target[..., None].float()
        middle = (xyz * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1.0)
        features = self.mlp(torch.cat([xyz - middle, weight], dim=-1)) * valid[..., None]
        return SceneTokens(
            xyz, features, valid, target, torch.eye(3, device=xyz.device).expand(*xyz.shape, 3)
        )
