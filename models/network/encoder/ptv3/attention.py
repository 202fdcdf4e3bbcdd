"""How points of a patch attend to each other: one scaled dot product over all patches, or variable-length on CUDA."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sceneleapultra.models.network.encoder.ptv3.level import SerializedLevel
from sceneleapultra.models.network.encoder.ptv3.patches import PatchRule

AttentionBackend = Literal["sdpa", "varlen"]


class RelativeBias(nn.Module):
    """Learned bias by the clamped voxel offset of query and key along each axis.

    The length of the table takes a floating cube root that falls just below the integer: 7, not 8, for patches of 16.
    """

    def __init__(self, patch_size: int, heads: int) -> None:
        super().__init__()
        self.reach = int((4 * patch_size) ** (1 / 3) * 2)
        self.rpe_table = nn.Parameter(torch.empty(3 * (2 * self.reach + 1), heads))
        nn.init.trunc_normal_(self.rpe_table, std=0.02)

    def forward(self, grid: Int[Tensor, "p w 3"]) -> Float[Tensor, "p h w w"]:
        """Return the bias of every (query, key) pair."""
        offset = (grid[:, :, None] - grid[:, None]).clamp(-self.reach, self.reach) + self.reach
        first = torch.arange(3, device=grid.device) * (2 * self.reach + 1)
        return nn.functional.embedding(offset + first, self.rpe_table).sum(-2).permute(0, 3, 1, 2)


class PatchAttention(nn.Module):
    """Multi-head attention inside the patches of one curve.

    By the rule ``cloud`` a small cloud gets a smaller patch of its own; by ``smallest_cloud``, which the official code
    follows where it has no flash attention, it makes the patches of all its batch mates smaller.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        patch_size: int,
        patch_rule: PatchRule,
        relative_bias: bool,
        backend: AttentionBackend,
    ) -> None:
        super().__init__()
        self.heads, self.patch_size, self.patch_rule, self.backend = heads, patch_size, patch_rule, backend
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rpe = RelativeBias(patch_size, heads) if relative_bias else None

    def forward(self, x: Float[Tensor, "n c"], level: SerializedLevel, curve: int) -> Float[Tensor, "n c"]:
        """Attend in the patches of a curve."""
        attend = self._dense if self.backend == "sdpa" else self._packed
        return self.proj(attend(self.qkv(x), level, curve))

    def _dense(self, qkv: Float[Tensor, "n e"], level: SerializedLevel, curve: int) -> Float[Tensor, "n c"]:
        groups, points, back = level.dense_rows(self.patch_size, self.patch_rule, curve)
        sizes = [group.num_patches * group.width for group in groups]
        outputs = []
        for group, rows, index in zip(
            groups, points(qkv).split(sizes), points.index.split(sizes), strict=True
        ):
            shape = (group.num_patches, group.width)
            q, k, v = rows.view(*shape, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            mask = None if group.key_valid is None else group.key_valid[:, None, None, :]
            if self.rpe is not None:
                bias = self.rpe(level.grid[index].view(*shape, 3)).to(q.dtype)
                mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
            out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            outputs.append(out.transpose(1, 2).reshape(rows.shape[0], -1))
        return back(torch.cat(outputs))

    def _packed(self, qkv: Float[Tensor, "n e"], level: SerializedLevel, curve: int) -> Float[Tensor, "n c"]:
        from torch.nn.attention.varlen import varlen_attn

        if not qkv.is_cuda:
            raise ValueError(
                f"attention=varlen needs a CUDA device, but the cloud is on {qkv.device.type}. Use attention=sdpa."
            )
        size = level.patch_size(self.patch_size, self.patch_rule)
        points, back = level.patch_rows(size, curve, packed=True)
        patches = level.patches(size)
        half = qkv.dtype if qkv.dtype in (torch.float16, torch.bfloat16) else torch.bfloat16
        q, k, v = points(qkv.to(half)).unflatten(1, (3, self.heads, -1)).unbind(1)
        ends, longest = patches.cu_seqlens, patches.longest
        out = varlen_attn(q, k, v, ends, ends, longest, longest)
        assert isinstance(out, Tensor)
        return back(out.flatten(1)).to(qkv.dtype)
