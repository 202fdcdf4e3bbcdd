"""Point Transformer V3 (Wu et al. 2024): weight-compatible with the official PT-v3m1, and with Sonata's PT-v3m2.

Blocks of a convolution, attention inside patches of a space-filling curve and an MLP, on ever coarser voxels and, with
a decoder, back to the finest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sceneleapultra.models.network.encoder.ptv3.architecture import Architecture
from sceneleapultra.models.network.encoder.ptv3.hashed_random import permutations
from sceneleapultra.models.network.encoder.ptv3.layers import (
    Block,
    ConvStem,
    LinearStem,
    Pooling,
    Unpooling,
)
from sceneleapultra.models.network.encoder.ptv3.level import SerializedLevel


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Levels, finest first, with the features the encoder gave each, and the decoder's at the finest."""

    levels: tuple[SerializedLevel, ...]
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

    def layers(self) -> list[list[nn.Module]]:
        """Return the blocks, the first with the layer that leads to it."""
        blocks = [[self.get_submodule(name)] for name in self.blocks]
        entry = [module for name, module in self.named_children() if name not in self.blocks]
        return [[*entry, *blocks[0]], *blocks[1:]] if blocks else [entry]

    def run(
        self, x: Float[Tensor, "n c"], convolved: Float[Tensor, "n c"], level: SerializedLevel
    ) -> Float[Tensor, "n c"]:
        """Apply the blocks; ``convolved`` is what the first convolution reads."""
        if self.checkpointing and torch.is_grad_enabled():
            # Draws are hashes, so there is no generator to restore.
            return checkpoint(self._run, x, convolved, level, use_reentrant=False, preserve_rng_state=False)
        return self._run(x, convolved, level)

    def _run(self, x: Tensor, convolved: Tensor, level: SerializedLevel) -> Tensor:
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

    def layers(self) -> list[list[nn.Module]]:
        """Return the stem, then the blocks, in the order features pass them."""
        stages = [*self.enc.values(), *self.dec.values()]
        return [[self.embedding], *(layer for stage in stages for layer in cast(Stage, stage).layers())]

    def _blocks(self, dim: int, heads: int, level: int, drops: Sequence[float], first: int) -> list[Block]:
        return [
            Block(self.architecture, dim, heads, level=level, number=first + i, curve=i, drop=drop)
            for i, drop in enumerate(drops)
        ]

    def forward(
        self,
        level: SerializedLevel,
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
        clouds = level.num_clouds

        def exchanged(level: SerializedLevel, s: int) -> SerializedLevel:
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
                levels.append(exchanged(levels[-1].pooled(a.stride[s - 1]), s))
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
