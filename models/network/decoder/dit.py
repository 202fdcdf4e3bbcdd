"""A diffusion transformer over a set of grasps, conditioned on scene tokens by geometry.

Source: Peebles & Xie 2023 (adaLN-zero).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.network.decoder.base import DecoderConfig, DecoderDims
from sceneleapultra.models.network.decoder.blocks import BlockDecoder, BlockView, attention_layers

_SUBLAYERS = 3  # set attention, cross-attention, feed-forward; a prompt adds a fourth


@dataclass(frozen=True, kw_only=True)
class DiTConfig(DecoderConfig):
    """A set DiT, see :class:`SetDiT`."""

    def build(self, dims: DecoderDims) -> "SetDiT":
        """Make the decoder."""
        return SetDiT(self, dims)


class Block(nn.Module):
    """Set attention, cross-attention and a feed-forward layer, each shifted, scaled and gated by time.

    Attention to a prompt's tokens comes after the scene's, in models that have prompts.
    """

    def __init__(self, config: DecoderConfig, dims: DecoderDims) -> None:
        super().__init__()
        dim, sublayers = config.dim, _SUBLAYERS + (dims.dim_prompt is not None)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, elementwise_affine=False) for _ in range(sublayers))
        self.self_attn, self.cross_attn, self.prompt_attn = attention_layers(config, dims)
        self.forward_layer = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.modulation = nn.Parameter(torch.zeros(sublayers, 3, dim))

    def forward(
        self, x: Float[Tensor, "b g d"], modulation: Float[Tensor, "b m 3 d"], view: BlockView
    ) -> Float[Tensor, "b g d"]:
        """Refine grasp tokens; ``modulation`` is shared by all blocks, each adds its own offset."""
        layers = (modulation + self.modulation)[:, :, :, None].unbind(1)

        def modulate(i: int) -> Tensor:
            shift, scale, _ = layers[i].unbind(1)
            return self.norms[i](x) * (1 + scale) + shift

        if self.self_attn is not None:
            x = x + layers[0][:, 2] * self.self_attn(modulate(0), view.set_id)
        x = x + layers[1][:, 2] * self.cross_attn(modulate(1), view.scene, view.geometry)
        if self.prompt_attn is not None and view.prompt is not None:
            x = x + layers[3][:, 2] * self.prompt_attn(modulate(3), view.prompt)
        return x + layers[2][:, 2] * self.forward_layer(modulate(2))


class SetDiT(BlockDecoder):
    """Denoises a set of grasps jointly; permutation-equivariant over the set, any number of grasps."""

    def __init__(self, config: DecoderConfig, dims: DecoderDims) -> None:
        super().__init__(config, dims, state_in=nn.Linear(dims.dim_state, config.dim))
        self.sublayers = _SUBLAYERS + (dims.dim_prompt is not None)
        self.modulation = nn.Linear(self.dim, self.sublayers * 3 * self.dim)
        self.blocks: list[Block] = nn.ModuleList(Block(config, dims) for _ in range(config.depth))  # type: ignore[assignment]
        self.out_norm = nn.LayerNorm(self.dim)
        self.out = nn.Linear(self.dim, dims.dim_out)
        for layer in (self.modulation, self.out):  # adaLN-zero: the network starts as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def refine(
        self, x: Float[Tensor, "b g c"], time: Float[Tensor, "b c"], views: Sequence[BlockView]
    ) -> Float[Tensor, "b g o"]:
        """See :class:`BlockDecoder`."""
        modulation = self.modulation(time).unflatten(-1, (self.sublayers, 3, -1))
        for block, view in zip(self.blocks, views, strict=True):
            x = self.run_block(block, x, modulation, view)
        return self.out(self.out_norm(x))
