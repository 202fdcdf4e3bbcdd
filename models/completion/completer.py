"""What scene completion trains, and what its checkpoints hold."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.completion.network import VoxelDecoder, VoxelEncoder


class GridModel(nn.Module):
    """What is trained on grids with their true distances, in the place of a generator.

    Args:
        dim: channels at half of the grid's resolution; a multiple of 8.
        reach_m: where distances are cut off; that of the data.
    """

    def __init__(self, *, dim: int, reach_m: float) -> None:
        super().__init__()
        if dim < 8 or dim % 8:
            raise ValueError(f"dim: expected a multiple of 8, got {dim}.")
        self.reach_m = reach_m
        self.config: dict[str, Any] | None = None  # as that of a generator

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.parameters()).device


class Completer(GridModel, ABC):
    """Predicts the distances of a scene from what one view says of its voxels."""

    @abstractmethod
    def check_hypotheses(self, number: int) -> None:
        """Refuse a number of hypotheses that it cannot give.

        Raises:
            ValueError: says what can.
        """

    @abstractmethod
    def complete(self, observed: Float[Tensor, "1 c x y z"], number: int) -> Float[Tensor, "k 2 x y z"]:
        """Return hypotheses of the distances to the target and to other objects (m), negative inside.

        Args:
            observed: channels of a grid.
            number: of hypotheses.
        """


class SceneCompleter(Completer):
    """From channels of a grid to signed distances, in one pass: the median of what may be there.

    Args:
        dim: channels at half of the grid's resolution; a multiple of 8.
        reach_m: where distances are cut off; that of the data.
    """

    def __init__(self, *, dim: int, reach_m: float) -> None:
        super().__init__(dim=dim, reach_m=reach_m)
        self.encoder = VoxelEncoder(dim)
        self.decoder = VoxelDecoder(self.encoder.dims)
        # Inside by one sharpness more counts as e times likelier to be inside, of the target and of others.
        self.log_sharpness = nn.Parameter(torch.zeros(2))

    def check_hypotheses(self, number: int) -> None:
        """Refuse more than one."""
        if number > 1:
            raise ValueError(
                f"hypotheses={number}: this completion gives one. Train one that gives several: "
                "python train_lightning.py experiment=completion_latent"
            )

    def complete(self, observed: Float[Tensor, "1 c x y z"], number: int) -> Float[Tensor, "k 2 x y z"]:
        """Return the one that there is."""
        self.check_hypotheses(number)
        found: Tensor = self(observed)
        return found

    def forward(self, observed: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b 2 x y z"]:
        """Return the distance to the target and to other objects (m), negative inside; beyond the reach it is far."""
        return self.reach_m * self.decoder(self.encoder(observed), observed).float()

    def cell_features(self, observed: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b d u v w"]:
        """Return what the network knows of cubes of 4 x 4 x 4 voxels, from which it goes on to distances."""
        return self.decoder.cells(self.encoder(observed))

    def occupancy_logits(self, distance: Float[Tensor, "b 2 x y z"]) -> Float[Tensor, "b 2 x y z"]:
        """Return the log-odds that voxels lie inside, by their predicted distances."""
        scale = self.log_sharpness.exp().reshape(1, 2, 1, 1, 1) * 4.0 / self.reach_m
        return -distance * scale
