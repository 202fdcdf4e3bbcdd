"""A diffusion transformer over a set of grasps (Peebles & Xie 2023: adaLN-zero), conditioned on scene tokens by
geometry.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sceneleapultra.models.network.decoder.attention import (
    AttentionBackend,
    GeometricCrossAttention,
    PromptAttention,
    SetAttention,
)
from sceneleapultra.models.network.decoder.base import Decoder, DecoderConfig, GraspContext
from sceneleapultra.models.network.decoder.time import fourier_time, time_layers

_SUBLAYERS = 3  # set attention, cross-attention, feed-forward; a prompt adds a fourth


@dataclass(frozen=True, kw_only=True)
class DiTConfig(DecoderConfig):
    """A set DiT, see :class:`SetDiT`."""

    def build(self, *, dim_state: int, dim_scene: int, dim_out: int, dim_prompt: int | None) -> "SetDiT":
        """Make the decoder."""
        return SetDiT(
            dim_state=dim_state,
            dim_scene=dim_scene,
            dim_geometry=self.dim_geometry,
            dim_out=dim_out,
            dim_prompt=dim_prompt,
            dim=self.dim,
            depth=self.depth,
            heads=self.heads,
            set_attention=self.set_attention,
            attention=self.attention,
            checkpointing=self.checkpointing,
        )


class Block(nn.Module):
    """Set attention, cross-attention and a feed-forward layer, each shifted, scaled and gated by time.

    Attention to a prompt's tokens comes after the scene's, in models that have prompts.
    """

    def __init__(
        self,
        *,
        dim: int,
        dim_scene: int,
        dim_geometry: int,
        dim_prompt: int | None,
        heads: int,
        set_attention: bool,
        attention: AttentionBackend,
    ) -> None:
        super().__init__()
        sublayers = _SUBLAYERS + (dim_prompt is not None)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, elementwise_affine=False) for _ in range(sublayers))
        self.among = SetAttention(dim=dim, heads=heads, attention=attention) if set_attention else None
        self.across = GeometricCrossAttention(
            dim=dim, dim_scene=dim_scene, dim_geometry=dim_geometry, heads=heads
        )
        self.told = (
            None if dim_prompt is None else PromptAttention(dim=dim, dim_prompt=dim_prompt, heads=heads)
        )
        self.forward_layer = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.modulation = nn.Parameter(torch.zeros(sublayers, 3, dim))

    def forward(
        self,
        x: Float[Tensor, "b g d"],
        modulation: Float[Tensor, "b m 3 d"],
        keys_values: tuple[Tensor, Tensor],
        prompt: tuple[Tensor, Tensor] | None,
        geometry: Float[Tensor, "b g s p"],
        context: GraspContext,
    ) -> Float[Tensor, "b g d"]:
        """Refine grasp tokens; ``modulation`` is shared by all blocks, each adds its own offset."""
        layers = (modulation + self.modulation)[:, :, :, None].unbind(1)

        def prepared(i: int) -> Tensor:
            shift, scale, _ = layers[i].unbind(1)
            return self.norms[i](x) * (1 + scale) + shift

        if self.among is not None:
            x = x + layers[0][:, 2] * self.among(prepared(0), context.together)
        x = x + layers[1][:, 2] * self.across(prepared(1), *keys_values, geometry, context.token_valid)
        if self.told is not None and prompt is not None and context.prompt_valid is not None:
            x = x + layers[3][:, 2] * self.told(prepared(3), *prompt, context.prompt_valid)
        return x + layers[2][:, 2] * self.forward_layer(prepared(2))


class SetDiT(Decoder):
    """Denoises a set of grasps jointly; permutation-equivariant over the set, any number of grasps.

    Args:
        dim_state: length of a grasp's state vector.
        dim_scene: width of scene tokens.
        dim_geometry: width of the embedding of a (grasp, token) pair.
        dim_out: outputs per grasp.
        dim_prompt: width of a prompt's tokens; None for a model without prompts.
        dim: width.
        depth: number of blocks.
        heads: attention heads.
        set_attention: whether grasps see each other; without it each is denoised independently.
        attention: implementation of attention within the set.
        checkpointing: recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        *,
        dim_state: int,
        dim_scene: int,
        dim_geometry: int,
        dim_out: int,
        dim_prompt: int | None,
        dim: int,
        depth: int,
        heads: int,
        set_attention: bool,
        attention: AttentionBackend,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.state_in = nn.Linear(dim_state, dim)
        self.anchor_in = nn.Linear(dim_scene, dim)
        self.dim = dim
        self.time = time_layers(dim)
        self.sublayers = _SUBLAYERS + (dim_prompt is not None)
        self.modulation = nn.Linear(dim, self.sublayers * 3 * dim)
        self.blocks: list[Block] = nn.ModuleList(  # type: ignore[assignment]
            Block(
                dim=dim,
                dim_scene=dim_scene,
                dim_geometry=dim_geometry,
                dim_prompt=dim_prompt,
                heads=heads,
                set_attention=set_attention,
                attention=attention,
            )
            for _ in range(depth)
        )
        self.out_norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim_out)
        for layer in (self.modulation, self.out):  # adaLN-zero: the network starts as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        x_t: Float[Tensor, "b g d"],
        t: Float[Tensor, "b"],
        geometry: Float[Tensor, "b g s p"],
        hint: Float[Tensor, "b g h"],
        context: GraspContext,
    ) -> Float[Tensor, "b g o"]:
        """Predict one output vector per grasp; ``hint`` is what else is known of each, added to its token."""
        x = self.state_in(x_t) + self.anchor_in(context.anchor) + hint
        modulation = self.modulation(self.time(fourier_time(t, self.dim))).unflatten(
            -1, (self.sublayers, 3, -1)
        )
        prompts = context.prompt or (None,) * len(self.blocks)
        for block, keys_values, prompt in zip(self.blocks, context.keys_values, prompts, strict=True):
            arguments = (x, modulation, keys_values, prompt, geometry, context)
            if self.checkpointing and self.training:
                x = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x = block(*arguments)
        return self.out(self.out_norm(x))
