"""The point operations as Triton kernels, for CUDA or Triton's interpreter.

Both kernels use the arithmetic of the torch reference, in its order and without fused multiply-adds, so that their
indices are the reference's.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor

_MOST_POINTS = 16384  # x, y, z and the distance of this many fit in the registers of one program
_CHOSEN = tl.constexpr(-2.0)
_LAST = tl.constexpr(0x7FFFFFFFFFFFFFFF)


@triton.jit
def _farthest_kernel(
    x_ptr,
    y_ptr,
    z_ptr,
    nearest_ptr,
    first_ptr,
    out_ptr,
    n: tl.constexpr,
    k: tl.constexpr,
    BLOCK: tl.constexpr,
):
    cloud = tl.program_id(0)
    x_ptr += cloud * n
    y_ptr += cloud * n
    z_ptr += cloud * n
    i = tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside, other=0.0)
    y = tl.load(y_ptr + i, mask=inside, other=0.0)
    z = tl.load(z_ptr + i, mask=inside, other=0.0)
    nearest = tl.load(nearest_ptr + cloud * n + i, mask=inside, other=-3.0)
    current = tl.load(first_ptr + cloud)
    for step in range(k):
        tl.store(out_ptr + cloud * k + step, current)
        dx = x - tl.load(x_ptr + current)
        dy = y - tl.load(y_ptr + current)
        dz = z - tl.load(z_ptr + current)
        nearest = tl.minimum(nearest, dx * dx + dy * dy + dz * dz)
        nearest = tl.where(inside & (i == current), _CHOSEN, nearest)
        current = tl.argmax(nearest, 0, tie_break_left=True).to(tl.int32)


@triton.jit
def _nearest_kernel(
    query_ptr,
    points_ptr,
    valid_ptr,
    out_ptr,
    q,
    n: tl.constexpr,
    k: tl.constexpr,
    QUERIES: tl.constexpr,
    POINTS: tl.constexpr,
):
    cloud = tl.program_id(0)
    row = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES)
    inside = row < q
    query_ptr += (cloud * q + row) * 3
    qx = tl.load(query_ptr, mask=inside, other=0.0)[:, None]
    qy = tl.load(query_ptr + 1, mask=inside, other=0.0)[:, None]
    qz = tl.load(query_ptr + 2, mask=inside, other=0.0)[:, None]
    found = tl.full([QUERIES], -1, tl.int64)
    # Each pass finds the least (distance, index) beyond the one of the pass before.
    for rank in range(k):
        best = tl.full([QUERIES], _LAST, tl.int64)
        for start in range(0, n, POINTS):
            j = start + tl.arange(0, POINTS)
            inside = j < n
            p = points_ptr + (cloud * n + j) * 3
            dx = qx - tl.load(p, mask=inside, other=0.0)[None, :]
            dy = qy - tl.load(p + 1, mask=inside, other=0.0)[None, :]
            dz = qz - tl.load(p + 2, mask=inside, other=0.0)[None, :]
            usable = tl.load(valid_ptr + cloud * n + j, mask=inside, other=0)[None, :] != 0
            squared = tl.where(usable, dx * dx + dy * dy + dz * dz, float("inf"))
            key = (squared.to(tl.int32, bitcast=True).to(tl.int64) << 32) | j[None, :].to(tl.int64)
            key = tl.where(inside[None, :] & (key > found[:, None]), key, _LAST)
            best = tl.minimum(best, tl.min(key, axis=1))
        tl.store(out_ptr + (cloud * q + row) * k + rank, best, mask=inside)
        found = best


def farthest(
    points: Float[Tensor, "b n 3"], k: int, first: Int[Tensor, "b 1"], nearest: Float[Tensor, "b n"]
) -> Int[Tensor, "b k"]:
    """Return the farthest-point order; ``nearest`` holds the squared distances to begin with.

    Raises:
        ValueError: more points than one program can hold.
    """
    b, n, _ = points.shape
    if n > _MOST_POINTS:
        raise ValueError(
            f"backend=triton orders clouds of up to {_MOST_POINTS} points, got {n}. Pass backend=torch."
        )
    x, y, z = (points[..., axis].contiguous() for axis in range(3))
    order = torch.empty((b, k), dtype=torch.int32, device=points.device)
    block = triton.next_power_of_2(n)
    _farthest_kernel[(b,)](
        *(x, y, z, nearest.contiguous(), first.to(torch.int32).contiguous(), order, n, k),
        BLOCK=block,
        num_warps=min(32, max(1, block // 256)),
        enable_fp_fusion=False,
    )
    return order.long()


def nearest_keys(
    query: Float[Tensor, "b q 3"], points: Float[Tensor, "b n 3"], k: int, valid: Bool[Tensor, "b n"] | None
) -> Int[Tensor, "b q k"]:
    """Return the ``k`` least keys (bits of the squared distance, index) of every query, in order."""
    (b, n, _), q = points.shape, query.shape[1]
    valid = torch.ones_like(points[..., 0], dtype=torch.bool) if valid is None else valid
    keys = torch.empty((b, q, k), dtype=torch.int64, device=points.device)
    queries = 16
    _nearest_kernel[(b, triton.cdiv(q, queries))](
        *(query.contiguous(), points.contiguous(), valid.to(torch.uint8).contiguous(), keys, q, n, k),
        QUERIES=queries,
        POINTS=min(256, triton.next_power_of_2(n)),
        enable_fp_fusion=False,
    )
    return keys
