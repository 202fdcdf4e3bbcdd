"""What a cloud says of the surfaces in it: points with outward normals, whatever the encoder makes of the cloud."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.models.network.frames import local_frames
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.geometry.points import gather, knn

_ROWS = 64  # points of each cloud looked at together: their distances stay in a CPU's cache


@dataclass(frozen=True)
class Surface:
    """Observed surface points; always float32."""

    xyz: Float[Tensor, "b s 3"]
    normal: Float[Tensor, "b s 3"]  # unit, towards the camera
    target: Bool[Tensor, "b s"]
    valid: Bool[Tensor, "b s"]

    @torch.no_grad()
    def nearest(self, points: Float[Tensor, "b g k 3"]) -> Int[Tensor, "b g k"]:
        """Return the index of the valid surface point nearest to each point.

        On a CPU the products of the coordinates decide, several times faster than differences: half a metre from the
        first point of the cloud, the point found may be 0.1 mm further away than the nearest.
        """
        flat = points.flatten(1, 2)
        if flat.device.type != "cpu":
            distance = torch.cdist(flat, self.xyz, compute_mode="donot_use_mm_for_euclid_dist")
            found = distance.masked_fill(~self.valid[:, None], float("inf")).argmin(-1)
        else:
            first = self.xyz[:, :1]
            xyz, relative = self.xyz - first, flat - first
            half = xyz.square().sum(-1).div(2).masked_fill(~self.valid, float("inf"))[:, None]
            # An exported graph would have the example's number of parts for ever.
            rows = [relative] if torch.compiler.is_exporting() else relative.split(_ROWS, dim=1)
            found = torch.cat(
                [torch.baddbmm(half, row, xyz.transpose(1, 2), alpha=-1).argmin(-1) for row in rows], dim=1
            )
        return found.unflatten(1, points.shape[1:3])


def observed_surface(cloud: Cloud, num_points: int, *, neighbors: int, radius: float) -> Surface:
    """Return the first ``num_points`` points of a cloud, a farthest-point sample, with normals from their neighbors.

    Args:
        cloud: in farthest-point order.
        num_points: how many; a cloud with fewer gives what it has.
        neighbors: points that a normal is fitted to, at most.
        radius: neighbors further away do not count (m).
    """
    points = cloud.points.float()
    xyz, valid = points[:, :num_points], cloud.valid[:, :num_points]
    index, distance = knn(xyz, points, neighbors, cloud.valid)
    near = gather(cloud.valid, index) & (distance <= radius)
    frames = local_frames(gather(points, index), near, xyz, cloud.viewpoint.float(), cloud.up.float())
    return Surface(xyz, frames[..., 2], cloud.target[:, :num_points] & valid, valid)
