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

    _frequencies: Tensor

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.mlp = nn.Sequential(nn.Linear(7 + 6 * _FREQUENCIES, dim), nn.GELU(), nn.Linear(dim, dim))
        frequencies = torch.pi * 2.0 ** torch.arange(_FREQUENCIES)[:, None]
        self.register_buffer("_frequencies", frequencies, persistent=False)

    def forward(
        self, origins: Float[Tensor, "b g 3"], frames: Float[Tensor, "b g 3 3"], tokens: SceneTokens
    ) -> Float[Tensor, "b g s p"]:
        """Return one embedding per (grasp, token) pair."""
        with torch.autocast(origins.device.type, enabled=False):  # half precision resolves a metre to 4 mm
            # (x_s - o_g) R_g without forming the differences first: two products instead of a broadcast one.
            b, g, s = *origins.shape[:2], tokens.xyz.shape[1]
            axes = frames.transpose(1, 2).reshape(b, 3, 3 * g)
            turned = torch.bmm(tokens.vectors, axes).view(b, 2, s, g, 3).transpose(2, 3)
            rotated, normal = turned.unbind(1)
            own = torch.bmm(origins.reshape(-1, 1, 3), frames.reshape(-1, 3, 3)).view(b, g, 1, 3)
            offset = (rotated - own) / self.scale
            waves = (offset[..., None, :] * self._frequencies).flatten(-2)
            target = tokens.target_column.expand(b, g, s, 1)
            features = torch.cat([offset, normal, target, waves.sin(), waves.cos()], dim=-1)
        embedded: Tensor = self.mlp(features.flatten(0, 2))
        return embedded.view(b, g, s, -1)
