"""How a grasp's frame and a scene token lie to each other, as features."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.network.tokens import SceneTokens
from sceneleapultra.utils.core.precision import full_precision

_FREQUENCIES = 3


class PairGeometry(nn.Module):
    """Embeds position, normal and target flag of each scene token, expressed in the frame of each grasp.

    Args:
        dim: width of the embedding.
        scale: length that positions are divided by (m).
    """

    _frequencies: Tensor
    _phases: Tensor

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.mlp = nn.Sequential(nn.Linear(7 + 6 * _FREQUENCIES, dim), nn.GELU(), nn.Linear(dim, dim))
        # Sines of all frequencies, then cosines: sines a quarter of a turn further.
        frequencies = (torch.pi * 2.0 ** torch.arange(_FREQUENCIES)).repeat(2)[:, None]
        phases = torch.tensor([0.0, 0.5 * torch.pi]).repeat_interleave(_FREQUENCIES)[:, None]
        self.register_buffer("_frequencies", frequencies, persistent=False)
        self.register_buffer("_phases", phases, persistent=False)

    def forward(
        self, origins: Float[Tensor, "b g 3"], frames: Float[Tensor, "b g 3 3"], tokens: SceneTokens
    ) -> Float[Tensor, "b g s p"]:
        """Return one embedding per (grasp, token) pair."""
        with full_precision(origins.device.type):  # half precision resolves a metre to 4 mm
            # (x_s - o_g) R_g = [x_s, -1] [R_g; o_g R_g]: one product instead of a broadcast difference.
            b, g, s = *origins.shape[:2], tokens.xyz.shape[1]
            own = torch.bmm(origins.reshape(-1, 1, 3), frames.reshape(-1, 3, 3)).view(b, 1, g, 3)
            axes = torch.cat([frames.transpose(1, 2), own], dim=1).view(b, 4, 3 * g)
            vectors = torch.bmm(tokens.vectors(self.scale), axes)
            offset, normal = vectors.view(b, 2, s, g, 3).transpose(2, 3).unbind(1)
            waves = torch.addcmul(self._phases, offset[..., None, :], self._frequencies).sin().flatten(-2)
            features = torch.cat([offset, normal, tokens.target_column.expand(b, g, s, 1), waves], dim=-1)
        embedded: Tensor = self.mlp(features.flatten(0, 2))
        return embedded.view(b, g, s, -1)
