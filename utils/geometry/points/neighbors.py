"""Which points are near: nearest neighbors, balls, and values interpolated from the three nearest.

Distances are sums of squared differences in float32, so they are exact far from the origin and in any unit.
Neighbors are ranked by (distance, index): equal distances go to the lowest index, on every backend.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sceneleapultra.utils.geometry.points.backends import Backend, require_backend
from sceneleapultra.utils.geometry.points.indexing import gather

# Pairs looked at together: their distances stay in a CPU's cache, and on a GPU bound the memory.
_PAIRS_CPU, _PAIRS_GPU = 1 << 19, 1 << 26
# Points of a block; only the k blocks with the nearest points can hold the k nearest.
_BLOCK = 8
_TINY_SQUARED_M = 1e-12
# Squared distances are weighted in this unit: exporters of ONNX take what is below 1e-8 for zero and leave it away.
_SCALE = 2.0**20  # a power of two: the weights are the same bit for bit


@torch.no_grad()
def knn(
    query: Float[Tensor, "b q 3"],
    points: Float[Tensor, "b n 3"],
    k: int,
    valid: Bool[Tensor, "b n"] | None = None,
    backend: Backend = "torch",
) -> tuple[Int[Tensor, "b q k"], Float[Tensor, "b q k"]]:
    """Return indices and distances of the ``k`` nearest points, nearest first.

    Where fewer than ``k`` points are ``valid``, the surplus has infinite distance and its indices mean nothing.

    Raises:
        ValueError: more neighbors asked for than there are points.
        ImportError: the backend cannot run here.
    """
    if not 1 <= k <= points.shape[1]:
        raise ValueError(
            f"Expected 1 to {points.shape[1]} neighbors (the number of points), got k={k}. Lower k."
        )
    query, points = query.to(torch.float32), points.to(torch.float32)
    if torch.compiler.is_exporting():
        return _nearest_of_all(query, points, k, valid)
    if require_backend(backend) == "pytorch3d":
        from sceneleapultra.utils.geometry.points.pytorch3d_ops import nearest

        return nearest(query, points, k, valid)
    if backend == "triton":
        from sceneleapultra.utils.geometry.points.triton_ops import nearest_keys

        keys = nearest_keys(query, points, k, valid)
    else:
        keys = _nearest_keys(query, points, k, valid)
    squared = keys.view(torch.float32)[..., 1::2]  # the upper halves
    return keys & 0xFFFFFFFF, squared.sqrt()


def ball_query(
    query: Float[Tensor, "b q 3"],
    points: Float[Tensor, "b n 3"],
    radius: float,
    k: int,
    valid: Bool[Tensor, "b n"] | None = None,
    backend: Backend = "torch",
) -> tuple[Int[Tensor, "b q k"], Bool[Tensor, "b q k"]]:
    """Return indices of up to ``k`` points within ``radius``, nearest first, and which of them exist.

    Where the mask is false the index is that of the nearest point, so that gathering is always safe and a
    maximum over the group needs no mask.

    Raises:
        ValueError: more neighbors asked for than there are points.
        ImportError: the backend cannot run here.
    """
    indices, distances = knn(query, points, k, valid, backend)
    inside = distances <= radius
    return torch.where(inside, indices, indices[..., :1]), inside


def interpolate(
    query: Float[Tensor, "b q 3"],
    points: Float[Tensor, "b n 3"],
    features: Float[Tensor, "b n c"],
    valid: Bool[Tensor, "b n"] | None = None,
    backend: Backend = "torch",
) -> Float[Tensor, "b q c"]:
    """Return features at ``query`` as the mean of the three nearest points', weighted by 1 / distance^2.

    Where no point is ``valid`` the result is zero.

    Raises:
        ImportError: the backend cannot run here.

    Source: Qi et al. 2017, PointNet++, equation 2 with p = 2 and k = 3.
    """
    index, distance = knn(query, points, min(3, points.shape[1]), valid, backend)
    weight = (_SCALE * distance.square() + _SCALE * _TINY_SQUARED_M).reciprocal_()
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return (gather(features, index) * weight[..., None].to(features.dtype)).sum(-2)


def _nearest_of_all(
    query: Float[Tensor, "b q 3"], points: Float[Tensor, "b n 3"], k: int, valid: Bool[Tensor, "b n"] | None
) -> tuple[Int[Tensor, "b q k"], Float[Tensor, "b q k"]]:
    """The same neighbors in operations that other engines have: ONNX, too, gives ties to the lowest index."""
    x, y, z = (query[..., axis, None] - points[:, None, :, axis] for axis in range(3))
    squared = x * x + y * y + z * z
    if valid is not None:
        squared = squared.masked_fill(~valid[:, None], torch.inf)
    nearest = squared.topk(k, dim=-1, largest=False)
    return nearest.indices, nearest.values.sqrt()


def _nearest_keys(
    query: Float[Tensor, "b q 3"], points: Float[Tensor, "b n 3"], k: int, valid: Bool[Tensor, "b n"] | None
) -> Int[Tensor, "b q k"]:
    """Return the ``k`` least keys (bits of the squared distance, index), in order."""
    b, n, _ = points.shape
    if valid is not None:
        points = points.masked_fill(~valid[..., None], torch.inf)  # so that every distance to it is infinite
    rows = points.transpose(1, 2)
    blocked = n > 2 * _BLOCK * k
    if blocked:
        # A block's points are _BLOCK rows apart, so that the least of all blocks are found row by row.
        if surplus := -n % _BLOCK:
            rows = functional.pad(rows, (0, surplus), value=torch.inf)
        rows = rows.unflatten(-1, (-1, _BLOCK)).transpose(-1, -2).flatten(-2)
    axes = rows.contiguous().split(1, dim=1)
    index = torch.arange(rows.shape[-1], device=points.device)
    size = max(1, (_PAIRS_CPU if points.device.type == "cpu" else _PAIRS_GPU) // (b * n))
    distances = (_squared(part, axes) for part in query[..., None].split(size, dim=1))
    parts = [_least_of_blocks(each, index, k) if blocked else _keys(each, index, k) for each in distances]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def _squared(part: Float[Tensor, "b q 3 1"], axes: tuple[Tensor, ...]) -> Float[Tensor, "b q n"]:
    # In place and axis by axis: one pass of plain arithmetic each, in the order every backend uses.
    x, y, z = part.unbind(2)
    squared = torch.sub(x, axes[0]).square_()
    term = torch.sub(y, axes[1]).square_()
    squared.add_(term)
    return squared.add_(torch.sub(z, axes[2], out=term).square_())


def _least_of_blocks(
    squared: Float[Tensor, "b q n"], index: Int[Tensor, "n"], k: int
) -> Int[Tensor, "b q k"]:
    rows = squared.unflatten(-1, (_BLOCK, -1))
    count = rows.shape[-1]
    best = _keys(rows.amin(-2), index[:count], k, in_order=False) & 0xFFFFFFFF
    place = index[:_BLOCK, None]
    best = best[..., None, :]
    candidates = squared.gather(-1, torch.add(best, place, alpha=count).flatten(-2))
    return _keys(candidates, torch.add(place, best, alpha=_BLOCK).flatten(-2), k)


def _keys(
    squared: Float[Tensor, "b q m"], index: Int[Tensor, "*m"], k: int, *, in_order: bool = True
) -> Int[Tensor, "b q k"]:
    # The bits of floats that are not negative are ordered as the floats are.
    keys = squared.view(torch.int32).to(torch.int64).bitwise_left_shift_(32).bitwise_or_(index)
    return keys.topk(k, dim=-1, largest=False, sorted=in_order).values
