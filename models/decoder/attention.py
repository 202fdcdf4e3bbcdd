"""Attention of grasps to the scene, with the geometry between the two in logits and values.

For grasp g, scene token s and head h:  ``logit = q_g . k_s + e_g . phi_gs``,  ``out = sum_s a_gs (v_s + W
phi_gs)``
with ``phi_gs`` a small embedding of where token s lies as seen from grasp g. Keys and values belong to the
scene alone and
are computed once; only phi (a few dozen numbers) exists per pair, so relative geometry costs a fraction of
what keys per
grasp would. The sum over two kinds of logits is why this is not one fused call.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class GeometricCrossAttention(nn.Module):
    """Cross-attention with cached scene keys and values and a relative-geometry term; query and key are
    normalised.
    """

    def __init__(self, *, dim: int, dim_scene: int, dim_geometry: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"model.decoder.dim={dim} must be divisible by heads={heads}.")
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim_scene, 2 * dim)
        self.query_geometry = nn.Linear(dim, heads * dim_geometry)
        self.value_geometry = nn.Linear(heads * dim_geometry, dim)
        self.out = nn.Linear(dim, dim)
        self.query_norm = nn.RMSNorm(dim // heads)
        self.key_norm = nn.RMSNorm(dim // heads)

    def keys_values(self, features: Float[Tensor, "b s c"]) -> tuple[Tensor, Tensor]:
        """Project scene features once for all steps and grasps."""
        k, v = self.key_value(features).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        return self.key_norm(k), v

    def forward(
        self,
        x: Float[Tensor, "b g d"],
        keys: Float[Tensor, "b s h e"],
        values: Float[Tensor, "b s h e"],
        geometry: Float[Tensor, "b g s p"],
        valid: Bool[Tensor, "b s"],
    ) -> Float[Tensor, "b g d"]:
        """Attend from grasps to valid scene tokens."""
        q = self.query_norm(self.query(x).unflatten(-1, (self.heads, -1)))
        e = self.query_geometry(x).unflatten(-1, (self.heads, -1))
        logits = torch.einsum("bghe,bshe->bghs", q, keys) * q.shape[-1] ** -0.5
        logits = logits + e @ geometry.transpose(-1, -2) * geometry.shape[-1] ** -0.5
        weight = logits.masked_fill(~valid[:, None, None], float("-inf")).float().softmax(-1).to(x.dtype)
        content = torch.einsum("bghs,bshe->bghe", weight, values).flatten(-2)
        place = (weight @ geometry).flatten(-2)
        return self.out(content + self.value_geometry(place))


class SetAttention(nn.Module):
    """Self-attention among the valid grasps of a set; no position codes, so it is permutation-equivariant."""

    def __init__(self, *, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.query_norm = nn.RMSNorm(dim // heads)
        self.key_norm = nn.RMSNorm(dim // heads)

    def forward(self, x: Float[Tensor, "b g d"], valid: Bool[Tensor, "b g"]) -> Float[Tensor, "b g d"]:
        """Attend among grasps; every grasp may also attend to itself, so masked rows stay finite."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        mask = valid[:, None, None, :] | itself
        y = nn.functional.scaled_dot_product_attention(
            self.query_norm(q), self.key_norm(k), v, attn_mask=mask
        )
        return self.out(y.transpose(1, 2).flatten(-2))
