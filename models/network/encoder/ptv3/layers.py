"""What the stages of the network are made of: blocks, the stem, pooling and unpooling.

Modules are named as in the official code, so that its state_dict loads.
"""

import math
from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.network.encoder.ptv3.architecture import Architecture, ConvolutionBackend, Norm
from sceneleapultra.models.network.encoder.ptv3.attention import PatchAttention
from sceneleapultra.models.network.encoder.ptv3.hashed_random import uniform
from sceneleapultra.models.network.encoder.ptv3.level import SerializedLevel
from sceneleapultra.models.network.encoder.ptv3.sparse_conv import convolve


def norm_of(kind: Norm, dim: int) -> nn.Module:
    """Return the norm of stem, pooling and unpooling; blocks always use LayerNorm."""
    return nn.BatchNorm1d(dim, eps=1e-3, momentum=0.01) if kind == "batch" else nn.LayerNorm(dim)


def convolution(backend: ConvolutionBackend, dim_in: int, dim_out: int, kernel: int, bias: bool) -> nn.Module:
    """Return a submanifold convolution; both backends hold the same weights.

    Raises:
        ValueError: spconv is asked for and not installed.
    """
    if backend == "gather":
        return SubMConv3d(dim_in, dim_out, kernel, bias)
    if find_spec("spconv") is None:
        raise ValueError(
            "convolution=spconv needs the package spconv, which is not installed. Install the one for your CUDA, for "
            "example with pip install spconv-cu126, or use convolution=gather."
        )
    from sceneleapultra.models.network.encoder.ptv3.spconv_backend import SpconvSubMConv3d

    return SpconvSubMConv3d(dim_in, dim_out, kernel, bias)


class SubMConv3d(nn.Module):
    """Submanifold convolution by our own gather and matrix products.

    Initialized as spconv does: uniform within 1 / sqrt(fan in).
    """

    def __init__(self, dim_in: int, dim_out: int, kernel: int, bias: bool) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(dim_in * kernel**3)
        weight = torch.empty(dim_out, kernel, kernel, kernel, dim_in)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(dim_out).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Float[Tensor, "n c"], level: SerializedLevel) -> Float[Tensor, "n d"]:
        """Convolve over the level's neighbors."""
        out = convolve(x, self.weight, level.pairs(self.weight.shape[1]))
        return out if self.bias is None else out + self.bias


class LayerScale(nn.Module):
    """A learned factor per channel (Touvron et al. 2021)."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Scale."""
        return x * self.gamma


def layer_scale(dim: int, initial: float | None) -> nn.Module:
    """Return the factor on a branch, or nothing at all."""
    return nn.Identity() if initial is None else LayerScale(dim, initial)


class MLP(nn.Module):
    """Two layers with an exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Transform each point."""
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Convolution as position code, patch attention and MLP, each added to what came in.

    Args:
        architecture: of the network.
        dim: width.
        heads: attention heads.
        level: at which the block works, 0 the finest.
        number: of this block among all of the network: its random draws are its own.
        curve: which of the level's curves it follows, counted cyclically.
        drop: probability that a point skips attention, and that it skips the MLP, in training.
    """

    def __init__(
        self,
        architecture: Architecture,
        dim: int,
        heads: int,
        *,
        level: int,
        number: int,
        curve: int,
        drop: float,
    ) -> None:
        super().__init__()
        a = architecture
        self.number, self.curve, self.drop = number, curve, drop
        self.cpe = nn.Sequential(
            convolution(a.convolution, dim, dim, 3, bias=True), nn.Linear(dim, dim), nn.LayerNorm(dim)
        )
        self.norm1 = nn.Sequential(nn.LayerNorm(dim))
        self.attn = PatchAttention(
            dim,
            heads,
            patch_size=a.patch_size[level],
            patch_rule=a.patch_rule,
            relative_bias=a.relative_bias,
            backend=a.attention,
        )
        self.norm2 = nn.Sequential(nn.LayerNorm(dim))
        self.mlp = nn.Sequential(MLP(dim, int(dim * a.mlp_ratio)))
        self.ls1 = nn.Sequential(layer_scale(dim, a.layer_scale))
        self.ls2 = nn.Sequential(layer_scale(dim, a.layer_scale))

    def forward(
        self, x: Float[Tensor, "n c"], convolved: Float[Tensor, "n c"], level: SerializedLevel
    ) -> Float[Tensor, "n c"]:
        """Transform the features ``x`` of a level; ``convolved`` is what the convolution reads, usually ``x``."""
        conv, linear, norm = self.cpe
        x = x + norm(linear(conv(convolved, level)))
        curve = self.curve % len(level.order)
        x = x + self._kept(self.ls1(self.attn(self.norm1(x), level, curve)), level, 0)
        return x + self._kept(self.ls2(self.mlp(self.norm2(x))), level, 1)

    def _kept(self, x: Tensor, level: SerializedLevel, branch: int) -> Tensor:
        """Drop the branch of random points (stochastic depth by point, as the official code has it)."""
        if not self.training or self.drop == 0.0:
            return x
        kept = uniform(level.point_keys(), 2 * self.number + branch) >= self.drop
        return x * (kept[:, None] / (1.0 - self.drop)).to(x.dtype)


class ConvStem(nn.Module):
    """Convolution over five voxels, norm, GELU (PTv3)."""

    def __init__(self, dim_in: int, dim: int, norm: Norm, backend: ConvolutionBackend) -> None:
        super().__init__()
        self.conv = convolution(backend, dim_in, dim, 5, bias=False)
        self.norm = norm_of(norm, dim)

    def forward(self, x: Float[Tensor, "n c"], level: SerializedLevel) -> Float[Tensor, "n d"]:
        """Embed the points."""
        return nn.functional.gelu(self.norm(self.conv(x, level)))


class LinearStem(nn.Module):
    """Linear layer, norm, GELU (Sonata)."""

    def __init__(self, dim_in: int, dim: int, norm: Norm) -> None:
        super().__init__()
        self.linear = nn.Linear(dim_in, dim)
        self.norm = norm_of(norm, dim)

    def forward(self, x: Float[Tensor, "n c"], level: SerializedLevel) -> Float[Tensor, "n d"]:
        """Embed the points."""
        return nn.functional.gelu(self.norm(self.linear(x)))


class Pooling(nn.Module):
    """Project, take the largest of every cluster, then norm and GELU."""

    def __init__(self, dim_in: int, dim: int, norm: Norm) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, dim)
        self.norm = nn.Sequential(norm_of(norm, dim))

    def forward(self, x: Float[Tensor, "n c"], coarse: SerializedLevel) -> Float[Tensor, "m d"]:
        """Carry features to a coarser level."""
        assert coarse.cluster is not None
        return nn.functional.gelu(self.norm(coarse.cluster.max(self.proj(x))))


class Unpooling(nn.Module):
    """Add the coarse features to the encoder's, each after its own projection, norm and GELU."""

    def __init__(self, dim_in: int, dim_skip: int, dim: int, norm: Norm) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Linear(dim_in, dim), norm_of(norm, dim), nn.GELU())
        self.proj_skip = nn.Sequential(nn.Linear(dim_skip, dim), norm_of(norm, dim), nn.GELU())

    def forward(
        self, x: Float[Tensor, "m c"], skip: Float[Tensor, "n e"], coarse: SerializedLevel
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Carry features back to the finer level; return the sum, and the skip branch alone."""
        assert coarse.cluster is not None
        skip = self.proj_skip(skip)
        return skip + coarse.cluster(self.proj(x)), skip
