"""What is observed of a scene, as a hand's distance to it is measured; guidance and loss terms share it.

One view shows the near side of an object only. Points some way behind what is seen of the target, along the camera's
rays, stand for its inside: without them a finger that has passed through the surface feels nothing.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sceneleapultra.models.beside import TABLE_QUANTILE
from sceneleapultra.models.network.tokens import Cloud

FAR_M = 1.0e3  # where points are put that do not exist: no distance to a hand comes near it
_SPHERES_APART = 4  # of the hand's spheres, neighbors overlap: every so many rank points well enough


@dataclass(frozen=True)
class ObservedPoints:
    """Points of a scene, in the frame of its cloud."""

    points: Float[Tensor, "b 1 n 3"]
    target: Bool[Tensor, "b 1 n"]
    other: Bool[Tensor, "b 1 n"]  # valid and not of the target

    @classmethod
    def of(cls, cloud: Cloud, scanned: int, thickness_m: tuple[float, ...]) -> "ObservedPoints":
        """Read the first ``scanned`` points of a cloud, a fair sample of it, and those behind its target's."""
        points = cloud.points[:, :scanned]
        target, other = cloud.target & cloud.valid, cloud.valid & ~cloud.target
        target, other = target[:, :scanned], other[:, :scanned]
        ray = torch.nn.functional.normalize(points - cloud.viewpoint[:, None], dim=-1)
        behind = [points + depth * ray for depth in thickness_m]
        return cls(
            points=torch.cat([points, *behind], dim=1)[:, None],
            target=target.repeat(1, 1 + len(thickness_m))[:, None],
            other=torch.cat([other, *[torch.zeros_like(other)] * len(thickness_m)], dim=1)[:, None],
        )


def observed_table_height(cloud: Cloud, scanned: int) -> Float[Tensor, "b"]:
    """Return the height of the table's top along ``up`` (m): the low end of what is not the target, far below if none.

    For a cloud of which no more is known; a training batch knows its table from ``T_world_frame``.
    """
    other = (cloud.valid & ~cloud.target)[:, :scanned]
    height = (cloud.points[:, :scanned] * cloud.up[:, None]).sum(-1)
    ordered = height.masked_fill(~other, FAR_M).sort(-1).values
    place = (other.sum(-1, keepdim=True) * TABLE_QUANTILE).long()
    return torch.where(other.any(-1), ordered.gather(-1, place).squeeze(-1), -FAR_M)


def sphere_power(
    centers: Float[Tensor, "b g s 3"], radii: Float[Tensor, "s"], points: Float[Tensor, "b 1 n 3"]
) -> Float[Tensor, "b g n"]:
    """Rank points by how deep they lie in a hand's spheres: least ``|p - c|^2 - r^2`` of some of them (m^2)."""
    centers, radii = centers[..., ::_SPHERES_APART, :], radii[::_SPHERES_APART]
    # |p - c|^2 - r^2 as one product with (p, 1), its |p|^2 added behind the minimum over the spheres.
    power = centers.square().sum(-1) - radii.square()
    sphere = torch.cat([-2.0 * centers, power[..., None]], dim=-1).transpose(-1, -2)
    point = torch.nn.functional.pad(points, (0, 1), value=1.0)
    return (point @ sphere).amin(-1) + points.square().sum(-1)


def deepest(
    power: Float[Tensor, "b g n"],
    points: Float[Tensor, "b 1 n 3"],
    candidates: Bool[Tensor, "b 1 n"],
    count: int,
) -> Float[Tensor, "b g m 3"]:
    """Choose the points of lowest power for each grasp; far away where there are fewer than ``count``."""
    count = min(count, power.shape[-1])
    best = power.masked_fill(~candidates, FAR_M).topk(count, largest=False)
    points = points.expand(-1, power.shape[1], -1, -1)
    chosen = points.gather(2, best.indices[..., None].expand(*best.indices.shape, 3))
    return torch.where((best.values < 0.5 * FAR_M)[..., None], chosen, FAR_M)
