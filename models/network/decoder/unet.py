"""A UNet-style decoder: residual blocks over each grasp's vector, modulated by time, with attention to the scene.

The convolutions of a UNet over a sequence of length one are linear layers, so that is what they are here. The second
half of the blocks takes the outputs of the first half as skips, innermost first. All grasps of a scene share its keys
and values; nothing is repeated per grasp.
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

_MOST_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class UNetConfig(DecoderConfig):
    """A UNet-style decoder, see :class:`SetUNet`."""

    def build(self, *, dim_state: int, dim_scene: int, dim_out: int, dim_prompt: int | None) -> "SetUNet":
        """Make the decoder."""
        return SetUNet(
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


class ChannelGroupNorm(nn.Module):
    """Group normalization over the channels of each grasp by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        groups = next(n for n in range(min(_MOST_GROUPS, dim // 4), 0, -1) if dim % n == 0)
        self.norm = nn.GroupNorm(groups, dim)

    def forward(self, x: Float[Tensor, "b g c"]) -> Float[Tensor, "b g c"]:
        """Normalize."""
        return self.norm(x.flatten(0, 1)).view_as(x)


class ResidualBlock(nn.Module):
    """Two normalized layers with a shift and scale by time between them; the second starts at zero."""

    def __init__(self, *, dim_in: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Sequential(ChannelGroupNorm(dim_in), nn.SiLU(), nn.Linear(dim_in, dim))
        self.time = nn.Linear(dim, 2 * dim)
        self.norm = ChannelGroupNorm(dim)
        self.second = nn.Linear(dim, dim)
        self.skip = nn.Linear(dim_in, dim) if dim_in != dim else nn.Identity()
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Float[Tensor, "b g c"], time: Float[Tensor, "b d"]) -> Float[Tensor, "b g d"]:
        """Refine each grasp's vector."""
        shift, scale = self.time(time)[:, None].chunk(2, dim=-1)
        h = self.norm(self.first(x)) * (1 + scale) + shift
        return self.skip(x) + self.second(nn.functional.silu(h))


class GatedLayer(nn.Module):
    """Feed-forward layer with a gate (GEGLU, Shazeer 2020)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, 4 * dim)
        self.out = nn.Linear(2 * dim, dim)

    def forward(self, x: Float[Tensor, "b g d"]) -> Float[Tensor, "b g d"]:
        """Transform each grasp by itself."""
        value, gate = self.inner(x).chunk(2, dim=-1)
        return self.out(value * nn.functional.gelu(gate))


class UNetBlock(nn.Module):
    """A residual block, then attention to the set, the scene and the prompt, then a gated layer."""

    def __init__(
        self,
        *,
        dim_in: int,
        dim: int,
        dim_scene: int,
        dim_geometry: int,
        dim_prompt: int | None,
        heads: int,
        set_attention: bool,
        attention: AttentionBackend,
    ) -> None:
        super().__init__()
        self.residual = ResidualBlock(dim_in=dim_in, dim=dim)
        self.among = SetAttention(dim=dim, heads=heads, attention=attention) if set_attention else None
        self.across = GeometricCrossAttention(
            dim=dim, dim_scene=dim_scene, dim_geometry=dim_geometry, heads=heads
        )
        self.told = (
            None if dim_prompt is None else PromptAttention(dim=dim, dim_prompt=dim_prompt, heads=heads)
        )
        self.gated = GatedLayer(dim)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in ("across", "gated")})
        if self.among is not None:
            self.norms["among"] = nn.LayerNorm(dim)
        if self.told is not None:
            self.norms["told"] = nn.LayerNorm(dim)

    def forward(
        self,
        x: Float[Tensor, "b g c"],
        time: Float[Tensor, "b d"],
        keys_values: tuple[Tensor, Tensor],
        prompt: tuple[Tensor, Tensor] | None,
        geometry: Float[Tensor, "b g s p"],
        context: GraspContext,
    ) -> Float[Tensor, "b g d"]:
        """Refine grasp vectors."""
        x = self.residual(x, time)
        if self.among is not None:
            x = x + self.among(self.norms["among"](x), context.together)
        x = x + self.across(self.norms["across"](x), *keys_values, geometry, context.token_valid)
        if self.told is not None and prompt is not None and context.prompt_valid is not None:
            x = x + self.told(self.norms["told"](x), *prompt, context.prompt_valid)
        return x + self.gated(self.norms["gated"](x))


class SetUNet(Decoder):
    """Denoises grasps by residual blocks with skips from the first half of the blocks to the second.

    Arguments are those of :class:`~sceneleapultra.models.network.decoder.dit.SetDiT`.
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
        self.dim, self.checkpointing = dim, checkpointing
        self.state_in = nn.Sequential(nn.Linear(dim_state, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim))
        self.anchor_in = nn.Linear(dim_scene, dim)
        self.time = time_layers(dim)
        self.num_skips = depth // 2
        self.blocks: list[UNetBlock] = nn.ModuleList(  # type: ignore[assignment]
            UNetBlock(
                dim_in=2 * dim if i >= depth - self.num_skips else dim,
                dim=dim,
                dim_scene=dim_scene,
                dim_geometry=dim_geometry,
                dim_prompt=dim_prompt,
                heads=heads,
                set_attention=set_attention,
                attention=attention,
            )
            for i in range(depth)
        )
        last = nn.Linear(dim, dim_out)
        self.out = nn.Sequential(ChannelGroupNorm(dim), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

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
        time = self.time(fourier_time(t, self.dim))
        prompts = context.prompt or (None,) * len(self.blocks)
        skips: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            if i >= len(self.blocks) - self.num_skips:
                x = torch.cat([x, skips.pop()], dim=-1)
            arguments = (x, time, context.keys_values[i], prompts[i], geometry, context)
            if self.checkpointing and self.training:
                x = checkpoint(block, *arguments, use_reentrant=False)
            else:
                x = block(*arguments)
            if i < self.num_skips:
                skips.append(x)
        return self.out(x)
