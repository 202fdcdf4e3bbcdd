"""The network of scene completion: a small convolutional U-shape, narrow where voxels are many."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sceneleapultra.utils.geometry.voxels.observe import CHANNELS

_GROUPS = 4


def _norm(dim: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, dim)


class VoxelNorm(nn.Module):
    """Root-mean-square norm over the channels of each voxel alone (Zhang & Sennrich 2019), which any part of a grid has
    as the whole has it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim, 1, 1, 1))

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
        """Return features of the same shape."""
        return self.weight * unit_rms(x)


def unit_rms(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
    """Scale the channels of each voxel to a root mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()


class ResBlock3D(nn.Module):
    """Two normalized convolutions beside the identity.

    Args:
        dim: channels.
        norm: which normalization, by channels; by default over groups of channels and the whole grid.

    Attributes:
        checkpointing: whether its activations are recomputed in the backward pass.
    """

    checkpointing = False

    def __init__(self, dim: int, norm: Callable[[int], nn.Module] = _norm) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            norm(dim),
            nn.SiLU(),
            nn.Conv3d(dim, dim, 3, padding=1),
            norm(dim),
            nn.SiLU(),
            nn.Conv3d(dim, dim, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
        """Return features of the same shape."""
        if self.checkpointing and torch.is_grad_enabled():
            return x + checkpoint(self.layers, x, use_reentrant=False)
        return x + self.layers(x)


class VoxelEncoder(nn.Module):
    """Features at a half, a quarter and an eighth of the grid's resolution; ``dim`` channels and twice as many each."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inputs, self.dims = len(CHANNELS), (dim, 2 * dim, 4 * dim)
        self.down = nn.ModuleList(
            nn.Conv3d(a, b, 4, stride=2, padding=1)
            for a, b in zip((inputs, *self.dims), self.dims, strict=False)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*[ResBlock3D(width) for _ in range(depth)])
            for width, depth in zip(self.dims, (1, 1, 2), strict=True)
        )

    def forward(self, observed: Float[Tensor, "b c x y z"]) -> list[Float[Tensor, "b _ _ _ _"]]:
        """Return features, the finest first."""
        features, x = [], observed
        for down, block in zip(self.down, self.blocks, strict=True):
            x = block(down(x))
            features.append(x)
        return features


class VoxelDecoder(nn.Module):
    """From features of all resolutions to two numbers per voxel."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        fine, middle, coarse = dims
        self.to_middle, self.to_fine = nn.Conv3d(coarse, middle, 1), nn.Conv3d(middle, fine, 1)
        self.middle, self.fine = ResBlock3D(middle), ResBlock3D(fine)
        self.to_voxels = nn.Conv3d(fine, fine // 2, 1)
        out = nn.Conv3d(fine // 2, 2, 1)
        assert out.bias is not None
        nn.init.ones_(out.bias)  # most voxels are far from everything
        self.last = nn.Sequential(
            nn.Conv3d(fine // 2 + len(CHANNELS), fine // 2, 3, padding=1), nn.SiLU(), out
        )

    def cells(self, features: list[Float[Tensor, "b _ _ _ _"]]) -> Float[Tensor, "b d u v w"]:
        """Return what is known at a quarter of the grid's resolution, from features of all resolutions."""
        _, middle, coarse = features
        cells: Tensor = self.middle(middle + finer(self.to_middle(coarse)))
        return cells

    def forward(
        self, features: list[Float[Tensor, "b _ _ _ _"]], observed: Float[Tensor, "b c x y z"]
    ) -> Float[Tensor, "b 2 x y z"]:
        """Return unbounded numbers."""
        fine = features[0]
        x = self.cells(features)
        x = self.fine(fine + finer(self.to_fine(x)))
        numbers: Tensor = self.last(torch.cat([finer(self.to_voxels(x)), observed], dim=1))
        return numbers


def finer(x: Float[Tensor, "b c _ _ _"]) -> Float[Tensor, "b c x y z"]:
    """Double the resolution by interpolation."""
    return functional.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)
