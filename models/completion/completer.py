"""What scene completion trains, and what its checkpoints hold."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.completion.network import VoxelDecoder, VoxelEncoder


class SceneCompleter(nn.Module):
    """From channels of a grid to signed distances, in the place of a generator.

    Args:
        dim: channels at half of the grid's resolution; a multiple of 8.
        reach_m: where distances are cut off; that of the data.
    """

    def __init__(self, *, dim: int, reach_m: float) -> None:
        super().__init__()
        if dim < 8 or dim % 8:
            raise ValueError(f"model.generator.dim: expected a multiple of 8, got {dim}.")
        self.reach_m = reach_m
        self.encoder = VoxelEncoder(dim)
        self.decoder = VoxelDecoder(self.encoder.dims)
        # Inside by one sharpness more counts as e times likelier to be inside, of the target and of others.
        self.log_sharpness = nn.Parameter(torch.zeros(2))
        self.config: dict[str, Any] | None = None  # as that of a generator

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.log_sharpness.device

    def forward(self, observed: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b 2 x y z"]:
        """Return the distance to the target and to other objects (m), negative inside; beyond the reach it is far."""
        return self.reach_m * self.decoder(self.encoder(observed), observed).float()

    def occupancy_logits(self, distance: Float[Tensor, "b 2 x y z"]) -> Float[Tensor, "b 2 x y z"]:
        """Return the log-odds that voxels lie inside, by their predicted distances."""
        scale = self.log_sharpness.exp().reshape(1, 2, 1, 1, 1) * 4.0 / self.reach_m
        return -distance * scale
