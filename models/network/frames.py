"""Local frames on a cloud: outward normals by PCA and a tangent fixed by gravity. In float32, as clouds come."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sceneleapultra.utils.core.precision import full_precision

_TINY = 1e-12
# Of the mean eigenvalue: in front of a matrix of rank 1 it lets the coordinate axis most across its line decide, not
# rounding.
_RANK_1 = -2.7e-4
_FURTHEST = 1e-3  # by which single precision may miss a root


def smallest_eigenvector(
    A: Float[Tensor, "*b 3 3"], rank_1: Bool[Tensor, "*b"] | None = None
) -> Float[Tensor, "*b 3"]:
    """Return the unit eigenvector of the least eigenvalue of symmetric matrices, in closed form.

    Where the rank is at most 1 many vectors are: it is the coordinate axis most across the only line, made
    perpendicular to it, to about 1e-3; z where there is no line.

    Trigonometric eigenvalues (Smith 1961), eigenvector as the longest cross product of two rows of A - lambda I. In
    double precision, because its error is that of the numbers over the gap between the two least eigenvalues. Unlike
    ``torch.linalg.eigh`` it neither synchronises with the host nor loops over the batch.
    """
    dtype, A = A.dtype, A.double()
    mean = A.diagonal(dim1=-2, dim2=-1).mean(-1)
    A = A / mean.clamp(min=_TINY)[..., None, None]  # scale-free: the thresholds below are relative
    eye = torch.eye(3, dtype=A.dtype, device=A.device)
    B = A - eye  # without its mean eigenvalue
    size = torch.linalg.vector_norm(B, dim=(-2, -1)).clamp(min=_TINY**0.5)
    least = _least_eigenvalue(B / size[..., None, None], size, eye[0, 0])
    if rank_1 is not None:
        least = torch.where(rank_1, least.clamp(max=_RANK_1), least)
    M = torch.addcmul(A, least[..., None, None], eye, value=-1.0)
    crosses = torch.linalg.cross(M, M.roll(-1, dims=-2))
    lengths = torch.linalg.vector_norm(crosses, dim=-1, keepdim=True)
    best = lengths.argmax(-2, keepdim=True).expand(*lengths.shape[:-2], 1, 3)
    return (crosses / lengths.clamp(min=_TINY)).gather(-2, best).squeeze(-2).to(dtype)


def _least_eigenvalue(
    B: Float[Tensor, "*b 3 3"], size: Float[Tensor, "*b"], one: Float[Tensor, ""]
) -> Float[Tensor, "*b"]:
    """Return that of ``I + size B``, where B has trace 0 and norm 1.

    B's least eigenvalue y, the least root of y^3 - y / 2 = det B, is -sqrt(2/3) c with c = cos(acos(r) / 3) in [1/2, 1]
    and r = -3 sqrt(6) det B: |B| = sqrt(6) p of the source, whose cos((acos r + 2 pi) / 3) is -cos(acos(-r) / 3).
    """
    scale, height = -3.0 * math.sqrt(6.0), -math.sqrt(2.0 / 3.0)
    if not torch.compiler.is_exporting():
        r = (torch.linalg.det(B) * scale).clamp(-1.0, 1.0)
        return torch.addcmul(one, size, torch.cos(torch.acos(r) / 3.0), value=height)
    # onnxruntime has neither in double precision, and its exporter rounds numbers such as the square root of 6 to
    # single: the determinant is written out, the root refined by Newton's method with numbers that need no rounding.
    first, second, third = B.unbind(-2)
    determinant = (first * torch.linalg.cross(second, third)).sum(-1)
    r = (determinant * scale).clamp(-1.0, 1.0)
    y = (torch.cos(torch.acos(r.float()) / 3.0) * height).double()
    for _ in range(2):
        slope = (3.0 * y * y - 0.5).clamp(min=_TINY)
        y = y - (((y * y - 0.5) * y - determinant) / slope).clamp(-_FURTHEST, _FURTHEST)
    return one + size * y


def local_frames(
    neighbors: Float[Tensor, "b s k 3"],
    neighbor_valid: Bool[Tensor, "b s k"],
    centers: Float[Tensor, "b s 3"],
    viewpoint: Float[Tensor, "b 3"],
    up: Float[Tensor, "b 3"],
) -> Float[Tensor, "b s 3 3"]:
    """Return frames whose third column is the normal towards the camera and whose first lies as far up as it can.

    Where the normal is within about 6 degrees of the vertical, "up" fixes nothing and the tangent is the horizontal
    across the viewing direction instead.
    """
    with full_precision(neighbors.device.type):
        weight = neighbor_valid.double()[..., None]
        count = weight.sum(-2).clamp(min=1.0)
        # From the center first, so that nothing depends on how far the cloud is from the origin.
        offsets = (neighbors - centers[..., None, :]).double()
        weighted = offsets * weight
        total = weighted.sum(-2)
        scatter = torch.baddbmm(
            (weighted.transpose(-1, -2) @ offsets).flatten(0, 1),
            total.view(-1, 3, 1),
            (total / count).view(-1, 1, 3),
            alpha=-1.0,
        ).view(*total.shape, 3)
        normal = smallest_eigenvector(scatter, count[..., 0] < 3.0).to(centers.dtype)
        to_camera, up = viewpoint[:, None] - centers, up[:, None].expand_as(centers)
        facing, rise = (torch.stack([to_camera, up], dim=-2) @ normal[..., None]).unbind(-2)
        normal = torch.where(facing < 0, -normal, normal)
        level = torch.linalg.cross(to_camera, up)  # never parallel to a steep normal
        reference = torch.where(rise.abs() > 0.995, level, up)
        tangent = torch.linalg.cross(torch.linalg.cross(normal, reference), normal)
        tangent = functional.normalize(tangent, dim=-1)
        return torch.stack([tangent, torch.linalg.cross(normal, tangent), normal], dim=-1)
