"""Local frames on a cloud: outward normals by PCA and a tangent fixed by gravity. In float32, as clouds come."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_TINY = 1e-12
# Of the trace: in front of a matrix of rank 1 it lets the coordinate axis most across its line decide, not rounding.
_RANK_1 = -9e-5
_NEWTON_STEPS, _FURTHEST = 2, 1e-4  # of the trace: single precision is no further from an eigenvalue


def smallest_eigenvector(
    A: Float[Tensor, "*b 3 3"], rank_1: Bool[Tensor, "*b"] | None = None
) -> Float[Tensor, "*b 3"]:
    """Return the unit eigenvector of the least eigenvalue of symmetric matrices, in closed form.

    Where the rank is at most 1 many vectors are: it is the coordinate axis most across the only line, made
    perpendicular to it, to about 1e-3; z where there is no line.

    Trigonometric eigenvalues (Smith 1961), refined by Newton's method; eigenvector as the longest cross product of two
    rows of A - lambda I. In double precision, because its error is that of the numbers over the gap between the two
    least eigenvalues. Unlike ``torch.linalg.eigh`` it neither synchronises with the host nor loops over the batch.
    """
    dtype, A = A.dtype, A.double()
    trace = A.diagonal(dim1=-2, dim2=-1).sum(-1)
    A = A / trace.clamp(min=_TINY)[..., None, None]  # scale-free: the thresholds below are relative
    q = A.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(3, dtype=A.dtype, device=A.device)
    B = A - q[..., None, None] * eye
    p = (B.pow(2).sum((-2, -1)) / 6.0).clamp(min=_TINY).sqrt()
    r = (_determinant(B, _cofactors(B)) / (2.0 * p**3)).clamp(-1.0, 1.0)
    # The arc cosine in single precision, the only one that onnxruntime has.
    least = q + 2.0 * p * torch.cos(torch.acos(r.float()) / 3.0 + 2.0 * math.pi / 3.0)
    for _ in range(_NEWTON_STEPS):
        M = A - least[..., None, None] * eye
        cofactors = _cofactors(M)
        slope = cofactors.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=_TINY)
        least = least + (_determinant(M, cofactors) / slope).clamp(-_FURTHEST, _FURTHEST)
    if rank_1 is not None:
        least = torch.where(rank_1, least.clamp(max=_RANK_1), least)
    crosses = _cofactors(A - least[..., None, None] * eye).flip(-2)  # z first where all are as long
    best = crosses.pow(2).sum(-1).argmax(-1)[..., None, None].expand(*least.shape, 1, 3)
    v = crosses.gather(-2, best).squeeze(-2)
    return (v / v.norm(dim=-1, keepdim=True).clamp(min=_TINY)).to(dtype)


def _cofactors(M: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return for each row of a matrix the cross product of the two others."""
    return torch.linalg.cross(M.roll(-1, -2), M.roll(-2, -2))


def _determinant(M: Float[Tensor, "*b 3 3"], cofactors: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b"]:
    return (M[..., 0, :] * cofactors[..., 0, :]).sum(-1)


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
    dtype = neighbors.dtype
    neighbors, centers, viewpoint, up = (x.double() for x in (neighbors, centers, viewpoint, up))
    with torch.autocast(neighbors.device.type, enabled=False):
        weight = neighbor_valid.to(neighbors.dtype)[..., None]
        count = weight.sum(-2).clamp(min=1.0)
        # From the center first, so that nothing depends on how far the cloud is from the origin.
        offsets = neighbors - centers[..., None, :]
        mean = (offsets * weight).sum(-2) / count
        centered = (offsets - mean[..., None, :]) * weight
        normal = smallest_eigenvector(centered.transpose(-1, -2) @ centered, count[..., 0] < 3.0)
        to_camera = viewpoint[:, None] - centers
        to_camera = to_camera / to_camera.norm(dim=-1, keepdim=True).clamp(min=1e-8)
        facing = (normal * to_camera).sum(-1, keepdim=True)
        normal = torch.where(facing < 0, -normal, normal)
        steep = (normal * up[:, None]).sum(-1, keepdim=True).abs() > 0.995
        level = to_camera.cross(up[:, None].expand_as(to_camera), dim=-1)  # never parallel to a steep normal
        reference = torch.where(steep, level, up[:, None].expand_as(normal))
        tangent = reference - (reference * normal).sum(-1, keepdim=True) * normal
        tangent = tangent / tangent.norm(dim=-1, keepdim=True).clamp(min=1e-8)
        return torch.stack([tangent, torch.linalg.cross(normal, tangent), normal], dim=-1).to(dtype)
