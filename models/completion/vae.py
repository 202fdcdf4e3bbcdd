"""Codes of completed scenes: a variational autoencoder of truncated distances, whose decoder needs no whole grid."""

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from sceneleapultra.models.completion.completer import GridModel
from sceneleapultra.models.completion.network import ResBlock3D, VoxelNorm, finer, unit_rms
from sceneleapultra.utils.geometry.voxels.observe import FREE

CELL = 4  # voxels along each side of what one code stands for
HALO = (
    4  # cells beyond a tile that its voxels depend on: of 1 voxel, then of 1 + 2 halves, at last 2 + 2 cells
)
# Of what each stage reads: its resolution in parts of a cell, by how much it makes that finer, and how many it reads
# beyond a tile.
_STAGES = ((1, 1, HALO), (1, 2, 2), (2, 2, 1))
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

    def decode(
        self, code: Float[Tensor, "b c u v w"], active: Bool[Tensor, "#b u v w"] | None = None
    ) -> Float[Tensor, "b 2 x y z"]:
        """Return the distances of codes (m); beyond the reach they are far.

        Args:
            code: of each cell.
            active: cells that may be near a surface. Tiles without any are far from everything and are not computed;
                None for all. Without tiles it changes nothing.
        """
        if self.tile is None or torch.is_grad_enabled():
            return self.reach_m * self.decoder(code).float()
        return decode_tiles(self.decoder, code, self.tile, active).mul_(self.reach_m).float()


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
        for stage in self.stages:
            code = stage(code)
        return code

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """What is done at the resolution of cells, then of halves, then of voxels; each reads what was before."""
        return (
            lambda x: self.cells(self.enter(x)),
            lambda x: self.halves(finer(self.to_halves(x))),
            lambda x: self.last(finer(self.to_voxels(x))),
        )


def decode_tiles(
    decoder: CodeDecoder,
    code: Float[Tensor, "b c u v w"],
    tile: int,
    active: Bool[Tensor, "#b u v w"] | None = None,
) -> Float[Tensor, "b 2 x y z"]:
    """Return what a decoder gives for the whole grid, computed in tiles of so many cells along each side.

    Each stage computes a tile with what the next ones read around it, and no more. Tiles without an active cell are
    not computed: they are 1, as far as the reach.
    """
    sides = code.shape[2:]
    found = code.new_ones(code.shape[0], 2, *(CELL * side for side in sides))
    for corner in product(*(range(0, side, tile) for side in sides)):
        bounds = [(low, min(low + tile, side)) for low, side in zip(corner, sides, strict=True)]
        if active is not None and not active[:, *(slice(*bound) for bound in bounds)].any():
            continue
        x, spans = code, [(0, side) for side in sides]
        for stage, (parts, finer_by, margin) in zip(decoder.stages, _STAGES, strict=True):
            wanted = [
                (max(parts * low - margin, 0), min(parts * high + margin, parts * side))
                for (low, high), side in zip(bounds, sides, strict=True)
            ]
            x = stage(x[:, :, *_inside(wanted, spans)])
            spans = [(finer_by * low, finer_by * high) for low, high in wanted]
        kept = [(CELL * low, CELL * high) for low, high in bounds]
        found[:, :, *(slice(*bound) for bound in kept)] = x[:, :, *_inside(kept, spans)]
    return found


def _inside(wanted: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    """Return where a box lies in one that begins elsewhere."""
    return tuple(
        slice(low - begin, high - begin) for (low, high), (begin, _) in zip(wanted, spans, strict=True)
    )


def active_cells(
    observed: Float[Tensor, "b c x y z"], voxel_m: float, reach_m: float
) -> Bool[Tensor, "b u v w"]:
    """Return the cells within reach of a voxel that no ray passed: solids, seen or hidden, are nowhere else."""
    solid = (observed[:, FREE : FREE + 1] == 0.0).float()
    cells = functional.max_pool3d(solid, CELL)
    reached = math.ceil(reach_m / (CELL * voxel_m))
    near: Bool[Tensor, "b u v w"] = (
        functional.max_pool3d(cells, 2 * reached + 1, stride=1, padding=reached)[:, 0] > 0.0
    )
    return near
