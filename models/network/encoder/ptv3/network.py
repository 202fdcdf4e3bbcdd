"""Point Transformer V3 (Wu et al. 2024): weight-compatible with the official PT-v3m1, and with Sonata's PT-v3m2.

Blocks of a convolution, attention inside patches of a space-filling curve and an MLP, on ever coarser voxels and, with
a decoder, back to the finest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sceneleapultra.models.network.encoder.ptv3.attention import AttentionBackend, PatchRule
from sceneleapultra.models.network.encoder.ptv3.draws import permutations
from sceneleapultra.models.network.encoder.ptv3.layers import (
    Block,
    ConvolutionBackend,
    ConvStem,
    LinearStem,
    Norm,
    Pooling,
    Stem,
    Unpooling,
)
from sceneleapultra.models.network.encoder.ptv3.level import Level, pool
from sceneleapultra.models.network.encoder.ptv3.serialization import check_curves

UnpoolConvolution = Literal["sum", "skip"]
Shuffle = Literal["never", "training", "always"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a Point Transformer V3 is made of. Tuples are indexed by level, 0 the finest.

    Args:
        order: curves; block i of a stage follows curve i, counted cyclically.
        stride: voxels that merge along an axis from one level to the next; powers of two.
        enc_depths: blocks of every encoder stage.
        enc_channels: width of every encoder stage.
        enc_heads: attention heads of every encoder stage.
        dec_depths: blocks of every decoder stage, one level fewer; empty for an encoder alone.
        dec_channels: width of every decoder stage.
        dec_heads: attention heads of every decoder stage.
        patch_size: points that attend to each other, by level.
        mlp_ratio: width of the MLPs' hidden layer over that of the block.
        drop_path: probability that a point skips a branch in the last block; falls linearly to 0 at the first.
        stem: ``conv`` (PTv3) or ``linear`` (Sonata).
        norm: of stem, pooling and unpooling; ``layer`` needs no large batch.
        layer_scale: initial factor on every branch; None for none.
        relative_bias: attention also learns a bias by the offset of voxels.
        shuffle: when the curves change places at every level: ``never``, in ``training``, or ``always`` as the official
            code does, whose output of one input then varies.
        patch_rule: see :class:`~sceneleapultra.models.network.encoder.ptv3.attention.PatchAttention`.
        unpool_convolution: what the first convolution after an unpooling reads: the ``sum``, or the ``skip`` branch
            alone as in PT-v3m1, where that is a known oversight that its weights were trained with.
        checkpointing: recompute the blocks of every stage in the backward pass.
        attention: ``sdpa``, or ``varlen`` (flash attention in half precision on CUDA).
        convolution: ``gather``, or ``spconv``.
    """

    order: tuple[str, ...]
    stride: tuple[int, ...]
    enc_depths: tuple[int, ...]
    enc_channels: tuple[int, ...]
    enc_heads: tuple[int, ...]
    dec_depths: tuple[int, ...]
    dec_channels: tuple[int, ...]
    dec_heads: tuple[int, ...]
    patch_size: tuple[int, ...]
    mlp_ratio: float
    drop_path: float
    stem: Stem
    norm: Norm
    layer_scale: float | None
    relative_bias: bool
    shuffle: Shuffle
    patch_rule: PatchRule
    unpool_convolution: UnpoolConvolution
    checkpointing: bool
    attention: AttentionBackend
    convolution: ConvolutionBackend

    def __post_init__(self) -> None:
        check_curves(self.order)
        levels = len(self.enc_depths)
        for name in ("enc_channels", "enc_heads", "patch_size"):
            self._expect(name, levels)
        self._expect("stride", levels - 1)
        for name in ("dec_depths", "dec_channels", "dec_heads"):
            if self.dec_depths or name != "dec_depths":
                self._expect(name, levels - 1 if self.dec_depths else 0)
        for side in ("enc", "dec"):
            channels, heads = getattr(self, f"{side}_channels"), getattr(self, f"{side}_heads")
            for level, (c, h) in enumerate(zip(channels, heads, strict=True)):
                if c < 1 or h < 1 or c % h:
                    raise ValueError(
                        f"{side}_heads={heads}: expected a divisor of {side}_channels={channels} at each level, "
                        f"but {h} does not divide {c} at level {level}."
                    )
        if any(s < 1 or s & (s - 1) for s in self.stride):
            raise ValueError(f"stride={self.stride}: expected powers of two, such as 2.")
        if any(size < 1 for size in self.patch_size):
            raise ValueError(f"patch_size={self.patch_size}: expected at least 1 point.")
        if not 0.0 <= self.drop_path < 1.0:
            raise ValueError(f"drop_path={self.drop_path}: expected 0 <= drop_path < 1.")
        if self.relative_bias and self.attention == "varlen":
            raise ValueError("relative_bias=true cannot be computed by attention=varlen. Use attention=sdpa.")

    def _expect(self, name: str, length: int) -> None:
        value = getattr(self, name)
        if len(value) != length:
            raise ValueError(
                f"{name}={value}: expected {length} values, because enc_depths={self.enc_depths} names "
                f"{len(self.enc_depths)} levels and dec_depths={self.dec_depths}."
            )


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Levels, finest first, with the features the encoder gave each, and the decoder's at the finest."""

    levels: tuple[Level, ...]
    encoder: tuple[Float[Tensor, "_n _c"], ...]
    decoder: Float[Tensor, "n c"] | None


class Stage(nn.Module):
    """Blocks of one level behind the layer that leads there: ``down`` in the encoder, ``up`` in the decoder."""

    down: Pooling
    up: Unpooling

    def __init__(self, blocks: Sequence[Block], checkpointing: bool, **entry: nn.Module) -> None:
        super().__init__()
        for name, module in entry.items():
            self.add_module(name, module)
        for i, block in enumerate(blocks):
            self.add_module(f"block{i}", block)
        self.blocks = tuple(f"block{i}" for i in range(len(blocks)))
        self.checkpointing = checkpointing

    def run(
        self, x: Float[Tensor, "n c"], convolved: Float[Tensor, "n c"], level: Level
    ) -> Float[Tensor, "n c"]:
        """Apply the blocks; ``convolved`` is what the first convolution reads."""
        if self.checkpointing and torch.is_grad_enabled():
            # Draws are hashes, so there is no generator to restore.
            return checkpoint(self._run, x, convolved, level, use_reentrant=False, preserve_rng_state=False)
        return self._run(x, convolved, level)

    def _run(self, x: Tensor, convolved: Tensor, level: Level) -> Tensor:
        for name in self.blocks:
            x = getattr(self, name)(x, convolved, level)
            convolved = x
        return x


class PointTransformerV3(nn.Module):
    """The network on voxels; see :class:`PTv3` for clouds of points.

    ``state_dict`` has the keys, shapes and layouts of the official code.
    """

    def __init__(self, architecture: Architecture, in_channels: int) -> None:
        super().__init__()
        a = self.architecture = architecture
        levels = len(a.enc_depths)
        stem = (
            ConvStem(in_channels, a.enc_channels[0], a.norm, a.convolution)
            if a.stem == "conv"
            else LinearStem(in_channels, a.enc_channels[0], a.norm)
        )
        self.embedding = nn.ModuleDict({"stem": stem})
        total = sum(a.enc_depths)
        drops = _linspace(a.drop_path, total)
        self.enc = nn.ModuleDict()
        for s in range(levels):
            first = sum(a.enc_depths[:s])
            rates = drops[first : first + a.enc_depths[s]]
            blocks = self._blocks(a.enc_channels[s], a.enc_heads[s], s, rates, first)
            entry = {"down": Pooling(a.enc_channels[s - 1], a.enc_channels[s], a.norm)} if s else {}
            self.enc[f"enc{s}"] = Stage(blocks, a.checkpointing, **entry)
        self.dec = nn.ModuleDict()
        drops = _linspace(a.drop_path, sum(a.dec_depths))
        widths = (*a.dec_channels, a.enc_channels[-1])
        for s in reversed(range(len(a.dec_depths))):
            first = sum(a.dec_depths[:s])
            rates = drops[first : first + a.dec_depths[s]][::-1]
            blocks = self._blocks(a.dec_channels[s], a.dec_heads[s], s, rates, total + first)
            up = Unpooling(widths[s + 1], a.enc_channels[s], a.dec_channels[s], a.norm)
            self.dec[f"dec{s}"] = Stage(blocks, a.checkpointing, up=up)

    def _blocks(self, dim: int, heads: int, level: int, drops: Sequence[float], first: int) -> list[Block]:
        a = self.architecture
        return [
            Block(
                dim,
                heads,
                number=first + i,
                curve=i,
                drop=drop,
                mlp_ratio=a.mlp_ratio,
                layer_scale=a.layer_scale,
                patch_size=a.patch_size[level],
                patch_rule=a.patch_rule,
                relative_bias=a.relative_bias,
                attention=a.attention,
                backend=a.convolution,
            )
            for i, drop in enumerate(drops)
        ]

    def forward(
        self,
        level: Level,
        features: Float[Tensor, "n c"],
        permutation: Int[Tensor, "s o"] | None = None,
        decode: bool = True,
    ) -> Encoded:
        """Encode voxels.

        Args:
            level: the voxels, serialized along the architecture's curves.
            features: input features.
            permutation: how the curves change places at each level, instead of a shuffle.
            decode: run the decoder, where there is one.
        """
        a = self.architecture
        shuffle = a.shuffle == "always" or (a.shuffle == "training" and self.training)
        clouds = len(level.counts)

        def exchanged(level: Level, s: int) -> Level:
            if permutation is not None:
                return level.shuffled(permutation[s].expand(clouds, -1))
            if shuffle:
                return level.shuffled(permutations(level.cloud_key(), len(a.order), salt=-1 - s))
            return level

        levels = [exchanged(level, 0)]
        x = self.embedding["stem"](features, levels[0])
        encoder = []
        for s, stage in enumerate(cast(list[Stage], [*self.enc.values()])):
            if s:
                levels.append(exchanged(pool(levels[-1], a.stride[s - 1]), s))
                x = stage.down(x, levels[-1])
            x = stage.run(x, x, levels[s])
            encoder.append(x)
        up = cast(list[Stage], [*self.dec.values()]) if decode else []
        for s, stage in zip(reversed(range(len(up))), up, strict=True):
            x, skip = stage.up(x, encoder[s], levels[s + 1])
            x = stage.run(x, x if a.unpool_convolution == "sum" else skip, levels[s])
        return Encoded(levels=tuple(levels), encoder=tuple(encoder), decoder=x if up else None)


def _linspace(last: float, count: int) -> list[float]:
    return [last * i / max(1, count - 1) for i in range(count)]
