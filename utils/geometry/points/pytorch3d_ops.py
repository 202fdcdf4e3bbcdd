"""The point operations by PyTorch3D, where it is installed.

PyTorch3D knows only the length of a cloud, so valid points are moved to the front, in their order, and the
indices it returns are translated back.
"""

import torch
from jaxtyping import Bool, Float, Int
from pytorch3d.ops import knn_points, sample_farthest_points
from torch import Tensor

from sceneleapultra.utils.geometry.points.indexing import gather


def farthest(
    points: Float[Tensor, "b n 3"], k: int, first: Int[Tensor, "b 1"], valid: Bool[Tensor, "b n"]
) -> Int[Tensor, "b k"]:
    """Return the farthest-point order from ``first`` on; points that are not valid come last."""
    place = torch.arange(points.shape[1], device=points.device).expand_as(valid)
    front = (~valid).long().masked_fill(place == first, -1).argsort(dim=1, stable=True)
    lengths = valid.sum(1).clamp(min=1)
    _, chosen = sample_farthest_points(gather(points, front), lengths, K=k, random_start_point=False)
    # Beyond the length of a cloud PyTorch3D returns -1; there the order goes on with the points that are left.
    chosen = torch.where(chosen < 0, torch.arange(k, device=points.device), chosen)
    return front.gather(1, chosen)


def nearest(
    query: Float[Tensor, "b q 3"], points: Float[Tensor, "b n 3"], k: int, valid: Bool[Tensor, "b n"] | None
) -> tuple[Int[Tensor, "b q k"], Float[Tensor, "b q k"]]:
    """Return the ``k`` nearest points and their distances.

    PyTorch3D keeps any of the points that tie for the last place; those it keeps are put in order here.
    """
    if valid is None:
        valid = torch.ones_like(points[..., 0], dtype=torch.bool)
    front = (~valid).long().argsort(dim=1, stable=True)
    lengths = valid.sum(1)
    found = knn_points(query, gather(points, front), lengths2=lengths.clamp(min=1), K=k)
    real = torch.arange(k, device=points.device) < lengths[:, None, None]
    squared = found.dists.masked_fill(~real, torch.inf)
    index = gather(front, found.idx.masked_fill(~real, 0))
    by_index = index.argsort(dim=-1)
    index, squared = index.gather(-1, by_index), squared.gather(-1, by_index)
    by_distance = squared.argsort(dim=-1, stable=True)
    return index.gather(-1, by_distance), squared.gather(-1, by_distance).sqrt()
