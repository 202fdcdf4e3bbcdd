"""What a cloud says of the surfaces in it: points with outward normals, whatever the encoder makes of the cloud."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sceneleapultra.models.network.frames import local_frames
from sceneleapultra.models.network.tokens import Cloud
from sceneleapultra.utils.geometry.points import gather, knn

# Pairs of points looked at together on a CPU: their distances stay in its cache.
_PAIRS = 1 << 19


@dataclass(frozen=True)
class Surface:
    """Observed surface points; always float32."""

    xyz: Float[Tensor, "b s 3"]
    normal: Float[Tensor, "b s 3"]  # unit, towards the camera
    target: Bool[Tensor, "b s"]
    valid: Bool[Tensor, "b s"]

    @cached_property
    def table(self) -> Float[Tensor, "b s 7"]:
        """Position, normal and whether it is the target's of every point, for one gather of all three."""
        return torch.cat([self.xyz, self.normal, self.target[..., None].to(self.xyz.dtype)], dim=-1)

    def prepare(self) -> None:
        """Compute what every step reads, outside of what ``torch.compile`` traces: it cannot follow a cache's lock."""
        _ = self.table, self._products if self.xyz.device.type == "cpu" else self._shown

    @torch.no_grad()
    def nearest(self, points: Float[Tensor, "b g k 3"]) -> Int[Tensor, "b g k"]:
        """Return the index of the valid surface point nearest to each point.

        On a CPU the products of the coordinates decide, several times faster than differences: half a metre from the
        first point of the cloud, the point found may be 0.1 mm further away than the nearest.
        """
        flat = points.flatten(1, 2)
        if flat.device.type != "cpu":
            found = torch.cdist(flat, self._shown, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1)
        else:
            first, coordinates, half = self._products
            relative = flat - first
            # An exported graph would have the example's number of parts for ever.
            whole = torch.compiler.is_exporting() or half.numel() * relative.shape[1] <= _PAIRS
            rows = [relative] if whole else relative.split(max(1, _PAIRS // half.numel()), dim=1)
            parts = [torch.baddbmm(half, row, coordinates, alpha=-1).argmin(-1) for row in rows]
            found = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return found.unflatten(1, points.shape[1:3])

    @cached_property
    def _shown(self) -> Float[Tensor, "b s 3"]:
        """The points, infinitely far away where they are not valid."""
        return self.xyz.masked_fill(~self.valid[..., None], float("inf"))

    @cached_property
    def _products(self) -> tuple[Tensor, Tensor, Tensor]:
        """The first point, all coordinates from there, and half their squared distances."""
        first = self.xyz[:, :1]
        xyz = self.xyz - first
        half = xyz.square().sum(-1).div(2).masked_fill(~self.valid, float("inf"))[:, None]
        return first, xyz.transpose(1, 2), half


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
    near = distance <= radius  # never for points that are not valid
    frames = local_frames(gather(points, index), near, xyz, cloud.viewpoint.float(), cloud.up.float())
    return Surface(xyz, frames[..., 2], cloud.target[:, :num_points] & valid, valid)
