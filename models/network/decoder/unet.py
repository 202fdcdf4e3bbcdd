"""A UNet-style decoder: residual blocks over each grasp's vector, modulated by time, with attention to the scene.

The convolutions of a UNet over a sequence of length one are linear layers, so that is what they are here. The second
half of the blocks takes the outputs of the first half as skips, innermost first. All grasps of a scene share its keys
and values; nothing is repeated per grasp.
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

_MOST_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class UNetConfig(DecoderConfig):
    """A UNet-style decoder, see :class:`SetUNet`."""

    def build(self, dims: DecoderDims) -> "SetUNet":
        """Make the decoder."""
        return SetUNet(self, dims)


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

    def forward(self, x: Float[Tensor, "b g c"], time: Float[Tensor, "n d"]) -> Float[Tensor, "b g d"]:
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

    def __init__(self, config: DecoderConfig, dims: DecoderDims, *, dim_in: int) -> None:
        super().__init__()
        dim = config.dim
        self.residual = ResidualBlock(dim_in=dim_in, dim=dim)
        self.self_attn, self.cross_attn, self.prompt_attn, self.completion_attn = attention_layers(
            config, dims
        )
        self.gated = GatedLayer(dim)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in ("cross_attn", "gated")})
        for name in ("self_attn", "prompt_attn"):
            if getattr(self, name) is not None:
                self.norms[name] = nn.LayerNorm(dim)

    def forward(
        self, x: Float[Tensor, "b g c"], time: Float[Tensor, "n d"], view: BlockView
    ) -> Float[Tensor, "b g d"]:
        """Refine grasp vectors."""
        x = self.residual(x, time)
        if self.self_attn is not None:
            x = x + self.self_attn(self.norms["self_attn"](x), view.set_id)
        x = x + attend_to_scene(self, self.norms["cross_attn"](x), view)
        if self.prompt_attn is not None and view.prompt is not None:
            x = x + self.prompt_attn(self.norms["prompt_attn"](x), view.prompt)
        return x + self.gated(self.norms["gated"](x))


class SetUNet(BlockDecoder):
    """Denoises grasps by residual blocks with skips from the first half of the blocks to the second."""

    def __init__(self, config: DecoderConfig, dims: DecoderDims) -> None:
        if dims.dim_hand is not None:
            raise ValueError(
                "model/generator/decoder=unet is of one hand. Pass model/generator/decoder=dit, or "
                "model/generator/hand_encoder=none."
            )
        dim, depth = config.dim, config.depth
        layers = (nn.Linear(dims.dim_state, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, dim))
        super().__init__(config, dims, state_in=nn.Sequential(*layers), dim_time=dim)
        self.num_skips = depth // 2
        self.blocks: list[UNetBlock] = nn.ModuleList(  # type: ignore[assignment]
            UNetBlock(config, dims, dim_in=2 * dim if i >= depth - self.num_skips else dim)
            for i in range(depth)
        )
        last = nn.Linear(dim, dims.dim_out)
        self.out = nn.Sequential(ChannelGroupNorm(dim), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def refine(
        self, x: Float[Tensor, "b g c"], level: Float[Tensor, "n c"], views: Sequence[BlockView]
    ) -> Float[Tensor, "b g c"]:
        """See :class:`BlockDecoder`."""
        skips: list[Tensor] = []
        for i, (block, view) in enumerate(zip(self.blocks, views, strict=True)):
            if i >= len(self.blocks) - self.num_skips:
                x = torch.cat([x, skips.pop()], dim=-1)
            x = self.run_block(block, x, level, view)
            if i < self.num_skips:
                skips.append(x)
        return x
