"""What makes one network serve many hands: a hand's tokens, and linear layers whose columns are made of them.

A network of a single hand has a column of weights for each of its joints, bodies and points. Here such columns are
functions of tokens, which a small transformer makes of the hand's graph; no parameter's shape knows the hand. In the
spirit of Ha et al. 2017, HyperNetworks, with the hand's graph as input.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sceneleapultra.hands.rows import HandRows

_FAR = 8  # bodies further apart in the tree than this count as so far


class HandTokens(NamedTuple):
    """Embedded rows of a hand."""

    hand: Float[Tensor, "1 e"]
    joint: Float[Tensor, "j e"]
    body: Float[Tensor, "n e"]
    point: Float[Tensor, "p e"]


@dataclass(frozen=True, kw_only=True)
class HandEncoderConfig:
    """Sizes of a :class:`HandEncoder`, as ``config/model/generator/hand_encoder`` names them."""

    dim: int
    depth: int
    heads: int
    adapter_rank: int | None

    def __post_init__(self) -> None:
        """Refuse sizes that no encoder can have."""
        for key in ("dim", "depth", "heads"):
            if getattr(self, key) < 1:
                raise ValueError(
                    f"model.generator.hand_encoder.{key}: expected at least 1, got {getattr(self, key)}."
                )
        if self.adapter_rank is not None and self.adapter_rank < 1:
            raise ValueError(
                f"model.generator.hand_encoder.adapter_rank: expected at least 1, or null for none, got "
                f"{self.adapter_rank}."
            )
        if self.dim % self.heads:
            raise ValueError(
                f"model.generator.hand_encoder.dim={self.dim} must be divisible by heads={self.heads}."
            )


class HandEncoder(nn.Module):
    """A transformer over the rows of a hand; attention is biased by the steps between their bodies.

    Args:
        config: sizes.
    """

    def __init__(self, config: HandEncoderConfig) -> None:
        super().__init__()
        dim = config.dim
        self.dim = dim
        self.rows_in = nn.ModuleDict({kind: nn.Linear(size, dim) for kind, size in HandRows.kinds.items()})
        self.nearness = nn.Parameter(torch.zeros(config.depth, config.heads, _FAR + 1))
        self.blocks = nn.ModuleList(_Block(dim, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, rows: HandRows) -> HandTokens:
        """Embed a hand; parts in the order of its rows."""
        x = torch.cat([self.rows_in[kind](getattr(rows, kind)) for kind in rows.kinds])
        steps = rows.steps.clamp(max=_FAR)
        for block, bias in zip(self.blocks, self.nearness, strict=True):
            x = block(x, bias[:, steps])
        return HandTokens(*self.norm(x).split(rows.sizes))


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList((nn.LayerNorm(dim), nn.LayerNorm(dim)))
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.forward_layer = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Float[Tensor, "m e"], bias: Float[Tensor, "h m m"]) -> Float[Tensor, "m e"]:
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(1, 2, 0, 3).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias[None].to(q))
        x = x + self.out(y[0].transpose(0, 1).flatten(1))
        refined: Tensor = self.forward_layer(self.norms[1](x))
        return x + refined


class LinearOfTokens(nn.Module):
    """A linear layer from numbers of a hand's parts, and some of the hand as a whole, to a vector.

    ``y = A rest + b + sum_i W(token_i) part_i``: the sum runs over the parts, whatever their number and order.

    Args:
        dim_token: width of tokens.
        per_part: numbers of each part.
        rest: numbers beside the parts.
        dim_out: outputs.
    """

    def __init__(self, *, dim_token: int, per_part: int, rest: int, dim_out: int) -> None:
        super().__init__()
        self.per_part, self.dim_out = per_part, dim_out
        self.rest = nn.Linear(rest, dim_out) if rest else None
        self.bias = None if rest else nn.Parameter(torch.zeros(dim_out))
        self.weights = nn.Linear(dim_token, per_part * dim_out)

    def forward(
        self, parts: Float[Tensor, "*b n c"], rest: Float[Tensor, "*b r"] | None, tokens: Float[Tensor, "n e"]
    ) -> Float[Tensor, "*b o"]:
        """Map numbers of the parts, in the order of their tokens."""
        # Tokens are normalized: columns start as wide as those of a layer of as many inputs.
        columns = self.weights(tokens).view(-1, self.dim_out) / math.sqrt(len(tokens) * self.per_part)
        out = parts.flatten(-2) @ columns.to(parts.dtype)
        return out + (self.bias if self.rest is None else self.rest(rest))


def layer_of_parts(
    dim_token: int | None, parts: int, per_part: int, rest: int, dim_out: int
) -> "nn.Linear | LinearOfTokens":
    """Return the first layer behind numbers of a hand's parts: for any hand where these have tokens, or for one."""
    if dim_token is None:
        return nn.Linear(rest + parts * per_part, dim_out)
    return LinearOfTokens(dim_token=dim_token, per_part=per_part, rest=rest, dim_out=dim_out)


def through(
    layers: nn.Sequential,
    before: tuple[Tensor, ...],
    parts: Float[Tensor, "*b n k c"],
    after: tuple[Tensor, ...],
    tokens: Float[Tensor, "n e"] | None,
) -> Float[Tensor, "*b o"]:
    """Run layers, the first of :func:`layer_of_parts`, on numbers of the parts and what comes before and after them."""
    first = layers[0]
    if isinstance(first, LinearOfTokens):
        assert tokens is not None
        return layers[1:](first(parts.flatten(-2), torch.cat([*before, *after], dim=-1), tokens))
    flat = [part.flatten(-2) for part in parts.unbind(-2)]
    return layers(torch.cat([*before, *flat, *after], dim=-1))


class StateIn(nn.Module):
    """Embeds states of any hand: translation and rotation, and position and squeeze of each joint."""

    def __init__(self, *, dim_token: int, dim: int) -> None:
        super().__init__()
        self.layer = LinearOfTokens(dim_token=dim_token, per_part=2, rest=9, dim_out=dim)

    def forward(self, state: Float[Tensor, "*b d"], tokens: HandTokens) -> Float[Tensor, "*b o"]:
        """Embed normalized states."""
        pose, joints = split_state(state)
        return self.layer(joints, pose, tokens.joint)


class StateOut(nn.Module):
    """Reads states of any hand out of vectors: the counterpart of :class:`StateIn`. It begins as zero."""

    def __init__(self, *, dim_token: int, dim: int) -> None:
        super().__init__()
        self.pose = nn.Linear(dim, 9)
        self.joints = nn.Linear(dim_token, 2 * (dim + 1))
        for layer in (self.pose, self.joints):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "*b c"], tokens: HandTokens) -> Float[Tensor, "*b d"]:
        """Return one state per vector."""
        rows = self.joints(tokens.joint).unflatten(-1, (2, -1)).flatten(0, 1)
        joints = nn.functional.linear(x, rows[:, :-1].to(x.dtype), rows[:, -1].to(x.dtype))
        return join_state(self.pose(x), joints.unflatten(-1, (-1, 2)))


def split_state(state: Float[Tensor, "*b d"]) -> tuple[Float[Tensor, "*b 9"], Float[Tensor, "*b j 2"]]:
    """Return translation and rotation, and position and squeeze of each joint."""
    j = (state.shape[-1] - 9) // 2
    translation, qpos, rotation, squeeze = state.split([3, j, 6, j], dim=-1)
    return torch.cat([translation, rotation], dim=-1), torch.stack([qpos, squeeze], dim=-1)


def join_state(pose: Float[Tensor, "*b 9"], joints: Float[Tensor, "*b j 2"]) -> Float[Tensor, "*b d"]:
    """Return the state of these parts."""
    qpos, squeeze = joints.unbind(-1)
    return torch.cat([pose[..., :3], qpos, pose[..., 3:], squeeze], dim=-1)
