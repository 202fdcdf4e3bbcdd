"""What a Point Transformer V3 is made of, and which combinations there are not."""

from dataclasses import dataclass
from typing import Literal

from sceneleapultra.models.network.encoder.ptv3.attention import AttentionBackend
from sceneleapultra.models.network.encoder.ptv3.patches import PatchRule
from sceneleapultra.models.network.encoder.ptv3.serialization import check_curves

Norm = Literal["batch", "layer"]
Stem = Literal["conv", "linear"]
ConvolutionBackend = Literal["gather", "spconv"]
UnpoolConvolution = Literal["sum", "skip"]
Shuffle = Literal["never", "training", "always"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A Point Transformer V3. Tuples are indexed by level, 0 the finest.

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
