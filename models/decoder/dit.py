"""A diffusion transformer over a set of grasps (Peebles & Xie 2023: adaLN-zero), conditioned on scene
tokens by geometry.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from models.decoder.attention import GeometricCrossAttention, SetAttention

_SUBLAYERS = 3  # set attention, cross-attention, feed-forward


@dataclass(frozen=True)
class GraspContext:
    """What a decoder may know of the scene, as seen from each grasp's anchor; constant over the denoising
    steps.
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]  # per block, (b s h e) each
    geometry: Float[Tensor, "b g s p"]
    anchor: Float[Tensor, "b g c"]
    token_valid: Bool[Tensor, "b s"]
    grasp_valid: Bool[Tensor, "b g"]


class Block(nn.Module):
    """Set attention, cross-attention and a feed-forward layer, each shifted, scaled and gated by time."""

    def __init__(
        self, *, dim: int, dim_scene: int, dim_geometry: int, heads: int, set_attention: bool
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim, elementwise_affine=False) for _ in range(_SUBLAYERS))
        self.among = SetAttention(dim=dim, heads=heads) if set_attention else None
        self.across = GeometricCrossAttention(
            dim=dim, dim_scene=dim_scene, dim_geometry=dim_geometry, heads=heads
        )
        self.forward_layer = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.modulation = nn.Parameter(torch.zeros(_SUBLAYERS, 3, dim))

    def keys_values(self, features: Float[Tensor, "b s c"]) -> tuple[Tensor, Tensor]:
        """Project the scene for this block."""
        return self.across.keys_values(features)

    def forward(
        self,
        x: Float[Tensor, "b g d"],
        modulation: Float[Tensor, "b 3 3 d"],
        keys_values: tuple[Tensor, Tensor],
        geometry: Float[Tensor, "b g s p"],
        context: GraspContext,
    ) -> Float[Tensor, "b g d"]:
        """Refine grasp tokens; ``modulation`` is shared by all blocks, each adds its own offset."""
        layers = (modulation + self.modulation)[:, :, :, None].unbind(1)

        def prepared(i: int) -> Tensor:
            shift, scale, _ = layers[i].unbind(1)
            return self.norms[i](x) * (1 + scale) + shift

        if self.among is not None:
            x = x + layers[0][:, 2] * self.among(prepared(0), context.grasp_valid)
        x = x + layers[1][:, 2] * self.across(prepared(1), *keys_values, geometry, context.token_valid)
        return x + layers[2][:, 2] * self.forward_layer(prepared(2))


class SetDiT(nn.Module):
    """Denoises a set of grasps jointly; permutation-equivariant over the set, any number of grasps.

    Args:
        dim_state: length of a grasp's state vector.
        dim_scene: width of scene tokens.
        dim_geometry: width of the embedding of a (grasp, token) pair.
        dim_out: outputs per grasp.
        dim: width.
        depth: number of blocks.
        heads: attention heads.
        set_attention: whether grasps see each other; without it each is denoised independently.
    """

    def __init__(
        self,
        *,
        dim_state: int,
        dim_scene: int,
        dim_geometry: int,
        dim_out: int,
        dim: int,
        depth: int,
        heads: int,
        set_attention: bool,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.state_in = nn.Linear(dim_state, dim)
        self.anchor_in = nn.Linear(dim_scene, dim)
        self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())
        self.modulation = nn.Linear(dim, _SUBLAYERS * 3 * dim)
        self.blocks: list[Block] = nn.ModuleList(  # type: ignore[assignment]
            Block(
                dim=dim,
                dim_scene=dim_scene,
                dim_geometry=dim_geometry,
                heads=heads,
                set_attention=set_attention,
            )
            for _ in range(depth)
        )
        self.out_norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim_out)
        for layer in (self.modulation, self.out):  # adaLN-zero: the network starts as the identity
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def keys_values(self, features: Float[Tensor, "b s c"]) -> tuple[tuple[Tensor, Tensor], ...]:
        """Project the scene for every block, once."""
        return tuple(block.keys_values(features) for block in self.blocks)

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
        modulation = self.modulation(self.time(fourier_time(t, self.dim))).unflatten(-1, (_SUBLAYERS, 3, -1))
        for block, keys_values in zip(self.blocks, context.keys_values, strict=True):
            x = block(x, modulation, keys_values, geometry, context)
        return self.out(self.out_norm(x))


def fourier_time(t: Float[Tensor, "b"], dim: int) -> Float[Tensor, "b d"]:
    """Embed time in [0, 1] by sinusoids, as Vaswani et al. 2017 embed positions up to 1000; float32
    throughout.
    """
    frequency = torch.exp(
        torch.arange(dim // 2, device=t.device, dtype=torch.float32) * (-math.log(1e4) * 2 / dim)
    )
    angle = 1000.0 * t.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
