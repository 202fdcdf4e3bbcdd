"""How a batch of clouds becomes voxels: each cloud turned into a frame of its own, one point for each occupied voxel.

The frame stands upright (z against gravity), its x axis points to the camera's side and it starts at the target's mean.
So turning or moving a scene together with its camera changes no voxel, but for points
within rounding of a face. Under a camera straight above, the heading is that of an axis of the cloud's own frame.
All of it is computed in double precision, so that the order of the points does not matter.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.models.network.encoder.ptv3.row_gather import RowGather
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.models.span import check_span


@dataclass(frozen=True, kw_only=True)
class Voxels:
    """Occupied voxels of a batch of clouds, cloud by cloud."""

    coord: Float[Tensor, "v 3"]  # mean of each voxel's points in the cloud's own frame (m)
    grid: Int[Tensor, "v 3"]
    batch: Int[Tensor, "v"]
    valid: Bool[Tensor, "b n"]
    points: RowGather  # the voxel of every valid point
    share: Float[Tensor, "v"]  # one over the number of points
    of_point: Int[Tensor, "b n"]  # voxel of each point; 0 for invalid ones
    origin: Float[Tensor, "b 3"]
    rotation: Float[Tensor, "b 3 3"]  # from the frame of the voxels to that of the cloud

    def mean(self, values: Float[Tensor, "b n c"]) -> Float[Tensor, "v c"]:
        """Average over the valid points of each voxel."""
        return self.points.sum(values[self.valid]) * self.share[:, None].to(values.dtype)


@torch.no_grad()
def voxelise(cloud: Cloud, size: float, depth: int) -> Voxels:
    """Sort the valid points of clouds into voxels of edge ``size`` (m), counted from each cloud's lowest corner.

    Raises:
        ValueError: a valid point is not finite, or a cloud spans more than ``2 ** depth`` voxels.
    """
    valid = cloud.valid
    if bad := int((~torch.isfinite(cloud.points).all(-1) & valid).sum()):
        raise ValueError(
            f"{bad} of {int(valid.sum())} valid points have NaN or infinite coordinates. "
            "Remove them, or mark them invalid."
        )
    points, cells, origin, rotation = own_cells(cloud, size)
    check_span((cells.flatten(1).amax(1) + 1).tolist(), size, depth)
    batch = torch.arange(len(points), device=points.device)[:, None].expand_as(valid)
    x, y, z = cells[valid].long().unbind(1)
    keys, index, counts = torch.unique(
        ((batch[valid] << depth | x) << depth | y) << depth | z, return_inverse=True, return_counts=True
    )
    rows, mask = RowGather(index=index, num_sources=len(keys)), (1 << depth) - 1
    share = 1.0 / counts.double()
    return Voxels(
        coord=(rows.sum(points[valid]) * share[:, None]).float(),
        grid=torch.stack([keys >> 2 * depth & mask, keys >> depth & mask, keys & mask], dim=1),
        batch=keys >> 3 * depth,
        valid=valid,
        points=rows,
        share=share.float(),
        of_point=torch.zeros_like(valid, dtype=torch.long).masked_scatter_(valid, index),
        origin=origin,
        rotation=rotation,
    )


def own_cells(
    cloud: Cloud, size: float
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n 3"], Float[Tensor, "b 3"], Float[Tensor, "b 3 3"]]:
    """Return points in the frame of their cloud (m), their voxels, and that frame; all in double precision."""
    hidden = ~cloud.valid[..., None]
    points = cloud.points.double().masked_fill(hidden, 0.0)
    origin, rotation = own_frame(points, cloud)
    points = (points - origin[:, None]) @ rotation
    lowest = points.masked_fill(hidden, torch.inf).amin(1, keepdim=True)
    return points, ((points - lowest) / size).floor().masked_fill(hidden, 0.0), origin, rotation


def own_frame(
    points: Float[Tensor, "b n 3"], cloud: Cloud
) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3 3"]]:
    """Return where the frame of each cloud starts and its axes as columns, in double precision."""
    target = cloud.target & cloud.valid
    chosen = torch.where(target.any(1, keepdim=True), target.double(), cloud.valid.double())[..., None]
    origin = (points * chosen).sum(1) / chosen.sum(1).clamp(min=1.0)
    up = torch.nn.functional.normalize(cloud.up.double(), dim=-1)
    view = torch.nn.functional.normalize(cloud.viewpoint.double() - origin, dim=-1)
    level = view - (view * up).sum(-1, keepdim=True) * up
    least = torch.nn.functional.one_hot(up.abs().argmin(-1), 3).double()
    spare = least - (least * up).sum(-1, keepdim=True) * up
    level = torch.where(level.norm(dim=-1, keepdim=True) > 1e-2, level, spare)
    forward = torch.nn.functional.normalize(level, dim=-1)
    return origin, torch.stack([forward, torch.linalg.cross(up, forward), up], dim=-1)
