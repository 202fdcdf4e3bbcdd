"""A diffusion transformer over a set of grasps, conditioned on scene tokens by geometry.

Source: Peebles & Xie 2023 (adaLN-zero).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.models.network.decoder.base import DecoderConfig, DecoderDims
from sceneleapultra.models.network.decoder.blocks import (
    BlockDecoder,
    BlockView,
    attend_to_scene,
    attention_layers,
)
from sceneleapultra.models.network.hand_encoder import StateIn, StateOut

_SUBLAYERS = 3  # set attention, cross-attention, feed-forward; a prompt adds a fourth


@dataclass(frozen=True, kw_only=True)
class DiTConfig(DecoderConfig):
    """A set DiT, see :class:`SetDiT`."""

    mlp_ratio: float
    dim_time: int

    def __post_init__(self) -> None:
        """Refuse sizes that no DiT can have."""
        super().__post_init__()
        for key, size in (("mlp_ratio", self.dim_hidden), ("dim_time", self.dim_time)):
            if size < 1:
                raise ValueError(
                    f"model.generator.decoder.{key}: expected a width of at least 1, got {getattr(self, key)}."
                )

    @property
    def dim_hidden(self) -> int:
        """Hidden units of a block's feed-forward layer."""
        return round(self.mlp_ratio * self.dim)

    def build(self, dims: DecoderDims) -> "SetDiT":
        """Make the decoder."""
        return SetDiT(self, dims)


class Block(nn.Module):
    """Set attention, cross-attention and a feed-forward layer, each shifted, scaled and gated by time.

    Attention to a prompt's tokens comes after the scene's, in models that have prompts.
    """

    def __init__(self, config: DiTConfig, dims: DecoderDims) -> None:
        super().__init__()
        dim, sublayers = config.dim, _SUBLAYERS + (dims.dim_prompt is not None)
        self.norms: list[nn.LayerNorm] = nn.ModuleList(  # type: ignore[assignment]
            nn.LayerNorm(dim, elementwise_affine=False) for _ in range(sublayers)
        )
        self.self_attn, self.cross_attn, self.prompt_attn, self.completion_attn = attention_layers(
            config, dims
        )
        self.forward_layer = nn.Sequential(
            nn.Linear(dim, config.dim_hidden), nn.GELU(), nn.Linear(config.dim_hidden, dim)
        )
        self.modulation = nn.Parameter(torch.zeros(sublayers, 3, dim))

    def forward(
        self, x: Float[Tensor, "b g d"], modulation: Float[Tensor, "n m 3 1 d"], view: BlockView
    ) -> Float[Tensor, "b g d"]:
        """Refine grasp tokens; ``modulation`` is shift, scale and gate of each sublayer."""
        # One time for all: shift and scale are the weight and bias of the norm. A graph is of any number of scenes.
        one_time = not torch.compiler.is_exporting() and modulation.shape[0] == 1
        parts = modulation.view(-1, x.shape[-1]).unbind() if one_time else modulation.flatten(1, 2).unbind(1)

        def modulate(i: int) -> Tensor:
            shift, scale, norm = parts[3 * i], parts[3 * i + 1], self.norms[i]
            if one_time:
                return nn.functional.layer_norm(x, x.shape[-1:], scale, shift, norm.eps)
            return torch.addcmul(shift, norm(x), scale)

        if self.self_attn is not None:
            x = torch.addcmul(x, parts[2], self.self_attn(modulate(0), view.set_id))
        x = torch.addcmul(x, parts[5], attend_to_scene(self, modulate(1), view))
        if self.prompt_attn is not None and view.prompt is not None:
            x = torch.addcmul(x, parts[11], self.prompt_attn(modulate(3), view.prompt))
        refined: Tensor = self.forward_layer(modulate(2).flatten(0, 1))
        return torch.addcmul(x, parts[8], refined.view_as(x))


class SetDiT(BlockDecoder):
    """Denoises a set of grasps jointly; permutation-equivariant over the set, any number of grasps."""

    def __init__(self, config: DiTConfig, dims: DecoderDims) -> None:
        dim, token = config.dim, dims.dim_hand
        state_in = nn.Linear(dims.dim_state, dim) if token is None else StateIn(dim_token=token, dim=dim)
        super().__init__(config, dims, state_in=state_in, dim_time=config.dim_time)
        self.sublayers = _SUBLAYERS + (dims.dim_prompt is not None)
        self.modulation = nn.Linear(config.dim_time, self.sublayers * 3 * self.dim)
        self.blocks: list[Block] = nn.ModuleList(Block(config, dims) for _ in range(config.depth))  # type: ignore[assignment]
        self.out_norm = nn.LayerNorm(self.dim)
        self.out = (
            nn.Linear(self.dim, dims.dim_out)
            if token is None or dims.dim_out != dims.dim_state
            else StateOut(dim_token=token, dim=dim)
        )
        for layer in (self.modulation, self.out):  # adaLN-zero: the network starts as the identity
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def embed_level(self, t: Float[Tensor, "n"]) -> Float[Tensor, "n blocks m 3 1 d"]:
        """Return the modulation of each block: by time for all of them, to which each adds its own offset."""
        shared = self.modulation(super().embed_level(t)).unflatten(-1, (1, self.sublayers, 3, 1, -1))
        modulation = shared + torch.stack([block.modulation for block in self.blocks])[:, :, :, None]
        modulation[:, :, :, 1].add_(1.0)  # scales are relative to one
        return modulation

    def refine(
        self, x: Float[Tensor, "b g c"], level: Float[Tensor, "n blocks m 3 1 d"], views: Sequence[BlockView]
    ) -> Float[Tensor, "b g c"]:
        """See :class:`BlockDecoder`."""
        for block, own, view in zip(self.blocks, level.unbind(1), views, strict=True):
            x = self.run_block(block, x, own, view)
        return self.out_norm(x)
