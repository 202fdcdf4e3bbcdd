"""Attention of grasps to the scene, to each other and to a prompt.

To the scene, for grasp g, token s and head h:  ``logit = q_g . k_s + e_g . phi_gs``,
``out = sum_s a_gs (v_s + W phi_gs + b)``  with ``phi_gs`` a small embedding of where token s lies as seen from grasp g.
Keys and values depend on the scene alone and are computed once; only phi (a few dozen numbers) exists per pair, so
relative geometry costs a fraction of what keys per grasp would. Because of the sum of two kinds of logits this is not
one fused call; the attention to set and prompt is.
"""

import importlib.util
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sceneleapultra.models.network.low_rank import add_product
from sceneleapultra.utils.core.names import unknown_name

AttentionBackend = Literal["sdpa", "flash_attn"]
# Normalized queries and keys give logits of a few units: exp(-100) of them is nothing.
_OTHER_SET_LOGIT = 100.0
_SET_CHANNELS = 16  # bits of a set's number; flash-attn wants head sizes in multiples of 8


def require_backend(attention: AttentionBackend) -> None:
    """Refuse an attention that is unknown or not installed.

    Raises:
        ValueError: with the remedy.
    """
    if attention not in get_args(AttentionBackend):
        raise unknown_name("model.generator.decoder.attention", attention, get_args(AttentionBackend))
    if attention == "flash_attn" and importlib.util.find_spec("flash_attn") is None:
        raise ValueError(
            "model.generator.decoder.attention=flash_attn needs the package flash-attn, which is not installed here. "
            "Build it for your GPU, or pass model.generator.decoder.attention=sdpa."
        )


class HeadNorm(nn.RMSNorm):
    """Root-mean-square norm of queries or keys (Zhang & Sennrich 2019), in the precision these come in."""

    def forward(self, x: Float[Tensor, "... e"]) -> Float[Tensor, "... e"]:
        """Normalize the last axis."""
        return nn.functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attended(NamedTuple):
    """Projected tokens of a prompt (b h l e), and which of them are valid (b l)."""

    keys: Tensor
    values: Tensor
    valid: Tensor


class AttendedScene(NamedTuple):
    """Projected tokens of a scene, laid out for products of batches of matrices."""

    keys: Float[Tensor, "bh s e"]
    values: Float[Tensor, "bh s e"]
    hidden: Float[Tensor, "bh 1 s"]  # minus infinity for tokens that are not valid, else zero


def hidden_tokens(valid: Bool[Tensor, "b s"], heads: int) -> Float[Tensor, "bh 1 s"]:
    """Return what is added to the logits of tokens: minus infinity for those that are not valid, else zero."""
    hidden = valid.to(torch.get_default_dtype()).log()
    return hidden.repeat_interleave(heads, dim=0)[:, None]


class GeometricCrossAttention(nn.Module):
    """Cross-attention to cached scene keys and values, with a relative-geometry term and normed queries and keys."""

    def __init__(self, *, dim: int, dim_scene: int, dim_geometry: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim_scene, 2 * dim)
        self.query_geometry = nn.Linear(dim, heads * dim_geometry)
        self.value_geometry = nn.Linear(heads * dim_geometry, dim)
        self.out = nn.Linear(dim, dim)
        self.query_norm = HeadNorm(dim // heads)
        self.key_norm = HeadNorm(dim // heads)

    def forward(
        self, x: Float[Tensor, "b g d"], scene: AttendedScene, pairs: Float[Tensor, "bg s p"]
    ) -> Float[Tensor, "b g d"]:
        """Attend from grasps to valid scene tokens; ``pairs`` is how these lie to each grasp."""
        (b, g, _), h = x.shape, self.heads
        s, p, rows = *pairs.shape[1:], x.flatten(0, 1)
        q = self.query(rows).view(b, g, h, -1)  # keys bear the weights of its norm
        q = (
            nn.functional.rms_norm(q, q.shape[-1:], eps=self.query_norm.eps)
            .transpose(1, 2)
            .reshape(b * h, g, -1)
        )
        e = self.query_geometry(rows).view(b * g, h, p)
        # Matrices of keys and values belong to a scene and head, those of pairs to a grasp.
        logits = torch.baddbmm(scene.hidden, q, scene.keys.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
        logits = logits.view(b, h, g, s).transpose(1, 2).reshape(b * g, h, s)
        logits = torch.baddbmm(logits, e, pairs.transpose(1, 2), alpha=p**-0.5)
        weight = logits.float().softmax(-1).to(x.dtype)
        by_head = weight.view(b, g, h, s).transpose(1, 2).reshape(b * h, g, s)
        content = torch.bmm(by_head, scene.values).view(b, h, g, -1).transpose(1, 2).reshape(b * g, -1)
        place = torch.bmm(weight, pairs).view(b * g, -1)
        out: Tensor = self.out(add_product(content, self.value_geometry, place))
        return out.view(b, g, -1)


def scene_keys_values(
    layers: Sequence[GeometricCrossAttention], features: Float[Tensor, "b s c"]
) -> tuple[tuple[Float[Tensor, "b h s e"], Float[Tensor, "b h s e"]], ...]:
    """Project a scene's features for the layers of a decoder, once for all steps and grasps."""
    heads, eps = layers[0].heads, layers[0].key_norm.eps
    projected = [layer.key_value(features).unflatten(-1, (2, heads, -1)) for layer in layers]
    keys, values = torch.stack([both.permute(2, 0, 3, 1, 4) for both in projected]).unbind(1)
    # A query's norm would weigh it by what its products with keys can be weighed by as well.
    weight = torch.stack([layer.key_norm.weight for layer in layers])
    weight = weight * torch.stack([layer.query_norm.weight for layer in layers])
    keys = nn.functional.rms_norm(keys, keys.shape[-1:], eps=eps) * weight.to(keys.dtype)[:, None, None, None]
    # Weights of tokens sum to one: what is added to all values is added to what comes of them.
    bias = torch.stack([layer.value_geometry.bias for layer in layers]).to(values.dtype)
    values = values + bias.view(len(layers), 1, heads, 1, -1)
    return tuple(zip(keys.unbind(), values.unbind(), strict=True))


class PromptAttention(nn.Module):
    """Cross-attention to the few tokens of a prompt."""

    def __init__(self, *, dim: int, dim_prompt: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim_prompt, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.query_norm = HeadNorm(dim // heads)
        self.key_norm = HeadNorm(dim // heads)

    def keys_values(self, tokens: Float[Tensor, "b l c"]) -> tuple[Tensor, Tensor]:
        """Project a prompt's tokens once for all steps and grasps."""
        k, v = self.key_value(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.key_norm(k), v

    def forward(self, x: Float[Tensor, "b g d"], prompt: Attended) -> Float[Tensor, "b g d"]:
        """Attend from grasps to the valid tokens, of which every prompt has at least one."""
        q = self.query_norm(self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2))
        y = nn.functional.scaled_dot_product_attention(
            q, prompt.keys, prompt.values, attn_mask=prompt.valid[:, None, None]
        )
        return self.out(y.transpose(1, 2).flatten(-2))


class SetAttention(nn.Module):
    """Self-attention within each set of grasps; no position codes, so it is permutation-equivariant."""

    def __init__(self, *, dim: int, heads: int, attention: AttentionBackend) -> None:
        super().__init__()
        self.heads, self.attention = heads, attention
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.query_norm = HeadNorm(dim // heads)
        self.key_norm = HeadNorm(dim // heads)

    def forward(self, x: Float[Tensor, "b g d"], set_id: Int[Tensor, "b g"]) -> Float[Tensor, "b g d"]:
        """Attend among grasps of equal ``set_id``; padding (-1) attends to padding, so its rows stay finite."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        q, k = self.query_norm(q), self.key_norm(k)
        if self.attention == "flash_attn":
            return self.out(_flash(q, k, v, set_id).flatten(-2))
        same = (set_id[:, :, None] == set_id[:, None, :])[:, None]
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=same)
        return self.out(y.transpose(1, 2).flatten(-2))


def with_sets_in_channels(
    q: Float[Tensor, "b g h e"], k: Float[Tensor, "b g h e"], set_id: Int[Tensor, "b g"]
) -> tuple[Float[Tensor, "b g h f"], Float[Tensor, "b g h f"]]:
    """Append channels whose products make grasps of one set outweigh all others, for kernels that take no mask.

    A channel for each bit of the set's number, of either sign: each in which two sets differ takes
    ``_OTHER_SET_LOGIT`` off logits that are scaled by ``e ** -0.5``. There may be as many sets as grasps.
    """
    bits = (set_id[..., None] + 1) >> torch.arange(_SET_CHANNELS, device=set_id.device) & 1
    code = (2 * bits - 1).to(q.dtype) * (0.5 * _OTHER_SET_LOGIT * q.shape[-1] ** 0.5) ** 0.5
    code = code[:, :, None].expand(*q.shape[:-1], _SET_CHANNELS)
    return torch.cat([q, code], dim=-1), torch.cat([k, code], dim=-1)


def _flash(q: Tensor, k: Tensor, v: Tensor, set_id: Tensor) -> Tensor:
    from flash_attn import flash_attn_func  # optional: the user's own build

    width = q.shape[-1]
    q, k = with_sets_in_channels(q, k, set_id)
    padded = nn.functional.pad(v, (0, _SET_CHANNELS))
    return flash_attn_func(q, k, padded, softmax_scale=width**-0.5)[..., :width]
