"""Codes of grasps: a variational autoencoder of normalized states, of one grasp at a time (Kingma & Welling 2014)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.utils.core.precision import full_precision

LOG_VARIANCE_BOUND = 8.0  # standard deviations of a code between 0.02 and 55


class GraspAutoencoder(nn.Module):
    """Normalized states as codes of fewer numbers, and back; a code is all that the decoder reads.

    Both halves compute in the precision of their weights under any autocast.

    Args:
        dim_state: length of a state.
        config: sizes.
    """

    def __init__(self, dim_state: int, config: "AutoencoderConfig") -> None:
        super().__init__()
        self.code, width, depth = config.code, config.width, config.depth
        self.encoder = _residual(dim_state, width, depth, 2 * config.code)
        self.decoder = _residual(config.code, width, depth, dim_state)

    def posterior(self, states: Float[Tensor, "*b d"]) -> tuple[Float[Tensor, "*b z"], Float[Tensor, "*b z"]]:
        """Return mean and log-variance of the codes."""
        with full_precision(states.device.type):
            mean, log_variance = self.encoder(states).chunk(2, dim=-1)
        return mean, log_variance.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def encode(self, states: Float[Tensor, "*b d"]) -> Float[Tensor, "*b z"]:
        """Return the mean of the codes."""
        return self.posterior(states)[0]

    def decode(self, codes: Float[Tensor, "*b z"]) -> Float[Tensor, "*b d"]:
        """Return the states of codes."""
        with full_precision(codes.device.type):
            states: Tensor = self.decoder(codes)
        return states


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of a :class:`GraspAutoencoder`, as ``config/model/generator/autoencoder`` names them."""

    code: int
    width: int
    depth: int

    def __post_init__(self) -> None:
        """Refuse sizes that no autoencoder can have."""
        for key, value in vars(self).items():
            if value < 1:
                raise ValueError(
                    f"model.generator.representation.autoencoder.{key}: expected at least 1, got {value}."
                )

    def build(self, dim_state: int) -> GraspAutoencoder:
        """Make the autoencoder of states of this length."""
        return GraspAutoencoder(dim_state, self)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b w"]:
        changed: Tensor = x + self.layers(x)
        return changed


def _residual(dim_in: int, width: int, depth: int, dim_out: int) -> nn.Sequential:
    blocks = [_Block(width) for _ in range(depth)]
    return nn.Sequential(nn.Linear(dim_in, width), *blocks, nn.LayerNorm(width), nn.Linear(width, dim_out))
