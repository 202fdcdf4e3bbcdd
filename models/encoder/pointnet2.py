"""PointNet++ (Qi et al. 2017) in pure PyTorch, with patches expressed in local frames.

Points arrive in farthest-point order, so the centres of each level are a prefix and farthest-point sampling
costs nothing.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from models.encoder.base import SceneEncoder
from models.frames import local_frames
from models.tokens import Cloud, SceneTokens
from utils.points import gather, knn


class SetAbstraction(nn.Module):
    """Group the nearest points of each centre, run a shared MLP on them in the centre's frame, and
    max-pool.
    """

    def __init__(self, dim_in: int, dim_out: int, radius: float) -> None:
        super().__init__()
        self.radius = radius
        self.first = nn.Linear(dim_in + 6, dim_out)
        self.second = nn.Linear(dim_out, dim_out)
        self.norm = nn.LayerNorm(dim_out)

    def forward(
        self,
        offsets: Float[Tensor, "b s k 3"],
        normals: Float[Tensor, "b s k 3"],
        features: Float[Tensor, "b s k c"],
        valid: Bool[Tensor, "b s k"],
    ) -> Float[Tensor, "b s c2"]:
        """Pool neighbours; ``offsets`` and ``normals`` are in the centre's frame, offsets in metres."""
        h = self.first(torch.cat([offsets / self.radius, normals, features], dim=-1))
        h = self.second(nn.functional.gelu(h))
        h = h.masked_fill(~valid[..., None], -1e4).amax(dim=-2)
        return self.norm(h)


class PointNet2(SceneEncoder):
    """Two levels of set abstraction over prefixes of the farthest-point order.

    Args:
        num_fine: centres of the first level.
        num_tokens: centres of the second level, which become the tokens; at most ``num_fine``.
        neighbours: size of every group.
        radius_fine: scale of the first level's offsets, and the largest distance of a neighbour (m).
        radius_coarse: the same for the second level (m).
        dim: width of the features.
    """

    def __init__(
        self,
        *,
        num_fine: int,
        num_tokens: int,
        neighbours: int,
        radius_fine: float,
        radius_coarse: float,
        dim: int,
    ) -> None:
        super().__init__()
        if not 0 < num_tokens <= num_fine:
            raise ValueError(
                f"model.encoder needs 0 < num_tokens <= num_fine, got num_tokens={num_tokens} and num_fine={num_fine}."
            )
        self.num_fine, self.num_tokens, self.neighbours = num_fine, num_tokens, neighbours
        self.dim, self.min_points = dim, neighbours
        self.fine = SetAbstraction(3, dim, radius_fine)
        self.coarse = SetAbstraction(dim, dim, radius_coarse)
        self.out = nn.Linear(dim + 3, dim)

    def forward(self, cloud: Cloud) -> SceneTokens:
        """Encode a cloud into ``num_tokens`` tokens."""
        points, valid = cloud.points.float(), cloud.valid
        fine_xyz, fine_valid = points[:, : self.num_fine], valid[:, : self.num_fine]
        index, near = self._group(fine_xyz, points, valid, self.fine.radius)
        patch = gather(points, index)
        frames = local_frames(patch, near, fine_xyz, cloud.viewpoint.float(), cloud.up.float())
        offsets = (patch - fine_xyz[:, :, None]) @ frames
        # Gravity and kind of each point, seen from the centre's frame.
        up = (cloud.up.float()[:, None, None] @ frames).squeeze(-2)
        kind = gather(cloud.target.to(points.dtype)[..., None], index)
        own = cloud.target[:, : self.num_fine].to(points.dtype)[:, :, None, None].expand_as(kind)
        h = self.fine(
            offsets,
            up[:, :, None].expand(-1, -1, self.neighbours, -1),
            torch.cat([kind, own, (kind - own).abs()], dim=-1),
            near,
        )

        xyz, tokens_valid = fine_xyz[:, : self.num_tokens], fine_valid[:, : self.num_tokens]
        index, near = self._group(xyz, fine_xyz, fine_valid, self.coarse.radius)
        token_frames = frames[:, : self.num_tokens]
        offsets = (gather(fine_xyz, index) - xyz[:, :, None]) @ token_frames
        normals = gather(frames[..., 2], index) @ token_frames
        pooled = self.coarse(offsets, normals, gather(h, index), near)
        features = self.out(torch.cat([h[:, : self.num_tokens] + pooled, up[:, : self.num_tokens]], dim=-1))
        return SceneTokens(
            xyz=xyz,
            features=features,
            valid=tokens_valid,
            target=cloud.target[:, : self.num_tokens] & tokens_valid,
            frames=token_frames,
        )

    def _group(
        self, centres: Tensor, points: Tensor, valid: Tensor, radius: float
    ) -> tuple[Int[Tensor, "b s k"], Bool[Tensor, "b s k"]]:
        """Return the nearest points of each centre and which of them are real and within the radius."""
        index, distance = knn(centres, points, self.neighbours, valid)
        return index, gather(valid, index) & (distance <= radius)
