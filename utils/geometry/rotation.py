"""How rotations are written and turned into each other: matrices, wxyz quaternions, rot6d, rotation vectors.

All functions are batched over leading axes and differentiable. rot6d is the first two **rows** of R, flattened,
decoded by Gram-Schmidt (Zhou et al. 2019, "On the Continuity of Rotation Representations", with rows for columns).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def rot6d_from_matrix(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 6"]:
    """Return the first two rows of each rotation matrix, flattened."""
    return R[..., :2, :].flatten(-2)


def matrix_from_rot6d(rot6d: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3 3"]:
    """Orthonormalize two row vectors by Gram-Schmidt and complete them to a rotation matrix."""
    first, second = rot6d.unflatten(-1, (2, 3)).unbind(-2)
    third = torch.linalg.cross(first, second)
    return F.normalize(torch.stack((first, torch.linalg.cross(third, first), third), dim=-2), dim=-1)


def matrix_from_quat_wxyz(quat_wxyz: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Turn quaternions, normalized here, into rotation matrices."""
    w, x, y, z = F.normalize(quat_wxyz, dim=-1).unbind(-1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quat_wxyz_from_matrix(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Turn rotation matrices into unit quaternions with w >= 0.

    Each row of the 4x4 matrix K below is a multiple of the quaternion; the one with the largest diagonal entry is
    used, so no division by a small number occurs (Shepperd 1978).
    """
    trace = R.diagonal(dim1=-2, dim2=-1).sum(-1)
    both, turned, ww = R + R.transpose(-1, -2), R - R.transpose(-1, -2), 1 + trace
    xx, yy, zz = (both.diagonal(dim1=-2, dim2=-1) + (1 - trace)[..., None]).unbind(-1)
    wx, wy, wz = turned[..., 2, 1], turned[..., 0, 2], turned[..., 1, 0]
    xy, xz, yz = both[..., 0, 1], both[..., 0, 2], both[..., 1, 2]
    rows = (*(ww, wx, wy, wz), *(wx, xx, xy, xz), *(wy, xy, yy, yz), *(wz, xz, yz, zz))
    K = torch.stack(rows, dim=-1).unflatten(-1, (4, 4))
    best = K.diagonal(dim1=-2, dim2=-1).argmax(-1)
    quat = F.normalize(K.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2), dim=-1)
    return torch.where(quat[..., :1] < 0, -quat, quat)


def skew(vector: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return the matrices [v]x with [v]x u = v x u."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def so3_exp(rotvec: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Turn rotation vectors into matrices (Rodrigues); smooth at zero."""
    angle2 = (rotvec * rotvec).sum(-1)[..., None, None]
    small = angle2 < 1e-8
    safe2 = torch.where(small, torch.ones_like(angle2), angle2)
    angle = safe2.sqrt()
    a = torch.where(small, 1 - angle2 / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - angle2 / 24, (1 - angle.cos()) / safe2)
    K = skew(rotvec)
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device) + a * K + b * (K @ K)


def geodesic_distance(Ra: Float[Tensor, "*b 3 3"], Rb: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b"]:
    """Return the angle of the rotation between two orientations, in [0, pi].

    2 asin(|Ra - Rb|_F / sqrt 8) keeps its precision near zero and acos of the trace near pi; half of each is used.
    The gradient vanishes at exactly equal orientations.
    """
    chord2 = (Ra - Rb).square().sum((-2, -1))
    near = chord2 < 4
    tiny = torch.finfo(chord2.dtype).tiny
    small = 2 * torch.asin(torch.where(near, chord2, torch.ones_like(chord2)).clamp_min(tiny).div(8).sqrt())
    rest = torch.where(near, torch.zeros_like(chord2), 8 - chord2).clamp_min(tiny).div(8).sqrt()
    return torch.where(near, small, torch.pi - 2 * torch.asin(rest.clamp_max(1)))


def quat_wxyz_product(first: Float[Tensor, "*b 4"], second: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Compose two rotations: the second is applied first, as in a product of their matrices."""
    w, v = first[..., :1], first[..., 1:]
    s, u = second[..., :1], second[..., 1:]
    vector = w * u + s * v + torch.linalg.cross(v, u)
    return torch.cat((w * s - (v * u).sum(-1, keepdim=True), vector), dim=-1)
