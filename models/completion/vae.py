"""Codes of completed scenes: a variational autoencoder of truncated distances, whose decoder needs no whole grid."""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.completion.completer import GridModel
from sceneleapultra.models.completion.network import ResBlock3D, VoxelNorm, finer, unit_rms

CELL = 4  # voxels along each side of what one code stands for
HALO = (
    4  # cells beyond a tile that its voxels depend on: of 1 voxel, then of 1 + 2 halves, at last 2 + 2 cells
)
_LOG_VARIANCE_BOUND = 8.0  # standard deviations of a code between 0.02 and 55


class FieldVAE(GridModel):
    """Distances to the target and to other objects as codes, one for each 4 x 4 x 4 voxels.

    The mean of a cell's code has a root mean square of 1 over its channels, so that codes have the spread that
    diffusion takes for granted, without statistics.

    Args:
        dim: channels at half of the grid's resolution, twice as many at a quarter; a multiple of 8.
        channels: of a code.
        reach_m: where distances are cut off; that of the data.
        tile: cells along each side that are decoded at once outside of training; None for the whole grid.
    """

    def __init__(self, *, dim: int, channels: int, reach_m: float, tile: int | None) -> None:
        super().__init__(dim=dim, reach_m=reach_m)
        for key, value in {"channels": channels, "tile": tile}.items():
            if value is not None and value < 1:
                raise ValueError(f"{key}: expected at least 1, got {value}.")
        self.channels, self.tile = channels, tile
        self.encoder = nn.Sequential(
            nn.Conv3d(2, dim, 4, stride=2, padding=1),
            ResBlock3D(dim),
            nn.Conv3d(dim, 2 * dim, 4, stride=2, padding=1),
            ResBlock3D(2 * dim),
            nn.Conv3d(2 * dim, 2 * channels, 1),
        )
        self.decoder = CodeDecoder(channels, dim)

    def encode(self, distance: Float[Tensor, "b 2 x y z"]) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the codes, each ``b c u v w``, a quarter as many along each side."""
        mean, log_variance = self.encoder(distance / self.reach_m).float().chunk(2, dim=1)
        return unit_rms(mean), log_variance.clamp(-_LOG_VARIANCE_BOUND, _LOG_VARIANCE_BOUND)

    def decode(self, code: Float[Tensor, "b c u v w"]) -> Float[Tensor, "b 2 x y z"]:
        """Return the distances of codes (m); beyond the reach they are far."""
        if self.tile is None or torch.is_grad_enabled():
            return self.reach_m * self.decoder(code).float()
        return self.reach_m * decode_tiles(self.decoder, code, self.tile).float()


class CodeDecoder(nn.Module):
    """From codes to two numbers per voxel; a voxel depends on the codes within ``HALO`` cells of its own."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.enter, self.cells = nn.Conv3d(channels, 2 * dim, 1), ResBlock3D(2 * dim, VoxelNorm)
        self.to_halves, self.halves = nn.Conv3d(2 * dim, dim, 1), ResBlock3D(dim, VoxelNorm)
        self.to_voxels = nn.Conv3d(dim, dim // 2, 1)
        out = nn.Conv3d(dim // 2, 2, 1)
        assert out.bias is not None
        nn.init.ones_(out.bias)  # most voxels are far from everything
        self.last = nn.Sequential(nn.Conv3d(dim // 2, dim // 2, 3, padding=1), nn.SiLU(), out)

    def forward(self, code: Float[Tensor, "b c u v w"]) -> Float[Tensor, "b 2 x y z"]:
        """Return unbounded numbers."""
        x = self.cells(self.enter(code))
        x = self.halves(finer(self.to_halves(x)))
        numbers: Tensor = self.last(finer(self.to_voxels(x)))
        return numbers


def decode_tiles(
    decoder: CodeDecoder, code: Float[Tensor, "b c u v w"], tile: int
) -> Float[Tensor, "b 2 x y z"]:
    """Return what a decoder gives for the whole grid, computed in tiles of so many cells along each side.

    A tile is decoded with what surrounds it, as far as its voxels depend on it, and only the tile is kept.
    """
    sides = code.shape[2:]
    found = code.new_empty(code.shape[0], 2, *(CELL * side for side in sides))
    for x, y, z in product(*(range(0, side, tile) for side in sides)):
        (u, a, i), (v, b, j), (w, c, k) = (
            _parts(low, tile, side) for low, side in zip((x, y, z), sides, strict=True)
        )
        found[:, :, i, j, k] = decoder(code[:, :, u, v, w])[:, :, a, b, c]
    return found


def _parts(low: int, tile: int, side: int) -> tuple[slice, slice, slice]:
    """Return which cells of a side are decoded, which of their voxels are kept, and where these are in the grid."""
    begin, high = max(low - HALO, 0), min(low + tile, side)
    kept = slice(CELL * (low - begin), CELL * (high - begin))
    return slice(begin, min(high + HALO, side)), kept, slice(CELL * low, CELL * high)
