"""How a grasp's frame and a scene token lie to each other, as features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.network.tokens import SceneTokens

_FREQUENCIES = 3


class PairGeometry(nn.Module):
    """Embeds position, normal and target flag of each scene token, expressed in the frame of each grasp.

    Args:
        dim: width of the embedding.
        scale: length that positions are divided by (m).
    """

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.mlp = nn.Sequential(nn.Linear(7 + 6 * _FREQUENCIES, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(
        self, origins: Float[Tensor, "b g 3"], frames: Float[Tensor, "b g 3 3"], tokens: SceneTokens
    ) -> Float[Tensor, "b g s p"]:
        """Return one embedding per (grasp, token) pair."""
        with torch.autocast(origins.device.type, enabled=False):  # half precision resolves a metre to 4 mm
            # (x_s - o_g) R_g without forming the differences first: two products instead of a broadcast one.
            rotated = torch.einsum("bsi,bgij->bgsj", tokens.xyz, frames)
            own = (origins[:, :, None] @ frames).squeeze(-2)
            offset = (rotated - own[:, :, None]) / self.scale
            normal = torch.einsum("bsi,bgij->bgsj", tokens.frames[..., 2], frames)
            waves = torch.cat([offset * (torch.pi * 2.0**k) for k in range(_FREQUENCIES)], dim=-1)
            target = tokens.target.to(offset.dtype)[:, None, :, None].expand(*offset.shape[:-1], 1)
            features = torch.cat([offset, normal, target, waves.sin(), waves.cos()], dim=-1)
        return self.mlp(features)
