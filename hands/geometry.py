"""How far points are from the hand: exact signed distances of its primitives, batched and differentiable.

Boxes, capsules, cylinders and spheres: exact. Convex pieces (from imported meshes): the largest plane distance, whose
sign and whose depth next to a face are exact, and which is a lower bound outside beyond edges and corners.
The hand is the union (minimum): exact outside; inside, a bound where primitives overlap.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import ConvexHull
from torch import Tensor, nn

from sceneleapultra.hands.description import SHAPES, Primitive, Vector
from sceneleapultra.hands.kinematics import homogeneous

_ROUNDED = ("box", "capsule", "sphere")  # a radius, perhaps zero, around a box, a line or a point


class PrimitiveSet(nn.Module):
    """All primitives of a hand, sorted by shape, each fixed to a body."""

    body: Tensor
    T_body_primitive: Tensor
    size: Tensor
    core: Float[Tensor, "3 p 1"]  # half extents of that box
    radius: Float[Tensor, "p 1"]
    planes: Tensor

    def __init__(self, owned: list[tuple[int, Primitive]], dtype: torch.dtype) -> None:
        super().__init__()
        owned = sorted(owned, key=lambda pair: (pair[1].shape not in _ROUNDED, SHAPES.index(pair[1].shape)))
        self.primitives = tuple(p for _, p in owned)
        kinds = ["rounded" if p.shape in _ROUNDED else p.shape for p in self.primitives]
        self._kinds = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
        size = np.zeros((len(owned), 3))
        core, radius = np.zeros((len(owned), 3)), np.zeros(len(owned))
        for k, primitive in enumerate(self.primitives):
            size[k, : len(primitive.size)] = primitive.size
            if primitive.shape == "box":
                core[k] = primitive.size
            elif primitive.shape in _ROUNDED:
                radius[k], core[k, 2] = size[k, :2]
        poses = np.stack([homogeneous(p.pos, p.quat_wxyz) for p in self.primitives])
        planes = stack_planes([hull_planes(p) for p in self.primitives if p.shape == "convex"])
        self.register_buffer("body", torch.tensor([i for i, _ in owned]), persistent=False)
        self.register_buffer("T_body_primitive", torch.tensor(poses, dtype=dtype), persistent=False)
        self.register_buffer("size", torch.tensor(size, dtype=dtype), persistent=False)
        self.register_buffer("core", torch.tensor(core.T[..., None], dtype=dtype), persistent=False)
        self.register_buffer("radius", torch.tensor(radius[:, None], dtype=dtype), persistent=False)
        self.register_buffer("planes", torch.tensor(planes, dtype=dtype), persistent=False)

    def distances(
        self, points: Float[Tensor, "*#b n 3"], T_frame_body: Float[Tensor, "*#b bodies 4 4"]
    ) -> Float[Tensor, "... p n"]:
        """Signed distance of each point to each primitive, both given in one frame; batch axes broadcast."""
        bodies = T_frame_body.movedim(-3, 0).index_select(0, self.body)
        T = torch.bmm(bodies.flatten(1, -2), self.T_body_primitive).view_as(bodies)
        # Columns, primitives, rows: axis-major, so that the coordinates below are contiguous over points.
        columns = T.movedim((-1, 0), (-3, -2))[..., :3].contiguous()  # (… 4 p 3)
        R, t = columns[..., :3, :, :], columns[..., 3:, :, :]
        offset = (R * t).sum(-1, keepdim=True)
        local = (R.flatten(-3, -2) @ points.transpose(-1, -2)).unflatten(-2, R.shape[-3:-1]) - offset
        out, start = [], 0
        for kind, count in self._kinds.items():
            part = slice(start, start + count)
            out.append(self._distance(kind, local[..., part, :], part))
            start += count
        return torch.cat(out, dim=-2) if len(out) > 1 else out[0]

    def forward(
        self, points: Float[Tensor, "*#b n 3"], T_frame_body: Float[Tensor, "*#b bodies 4 4"]
    ) -> Float[Tensor, "... n"]:
        """Signed distance of each point to the union, negative inside."""
        return self.distances(points, T_frame_body).amin(-2)

    def by_body(
        self, points: Float[Tensor, "*#b n 3"], T_frame_body: Float[Tensor, "*#b bodies 4 4"]
    ) -> Float[Tensor, "... bodies n"]:
        """Signed distance of each point to each body, negative inside; infinite for a body without primitives."""
        d = self.distances(points, T_frame_body)
        least = d.new_full((*d.shape[:-2], T_frame_body.shape[-3], d.shape[-1]), float("inf"))
        return least.scatter_reduce(-2, self.body[:, None].expand_as(d), d, "amin")

    def _distance(
        self, kind: str, local: Float[Tensor, "... 3 p n"], part: slice
    ) -> Float[Tensor, "... p n"]:
        if kind == "convex":
            normals, offsets = self.planes[..., :3], self.planes[..., 3:]
            return (normals @ local.movedim(-3, -2) + offsets).amax(-2)
        if kind == "rounded":
            return _from_excess(local.abs() - self.core[:, part]) - self.radius[part]
        a, b = self.size[part, 0, None], self.size[part, 1, None]
        radial, along = _norm(local[..., :2, :, :]), local[..., 2, :, :].abs()
        return _from_excess(torch.stack((radial - a, along - b), dim=-3))


def _norm(vectors: Float[Tensor, "... f p n"]) -> Float[Tensor, "... p n"]:
    # Clamped, so that the gradient at zero is zero and not NaN; a distance inside is off by the root of it.
    return vectors.square().sum(-3).clamp_min(1e-36).sqrt()


def _from_excess(excess: Float[Tensor, "... f p n"]) -> Float[Tensor, "... p n"]:
    """Distance of a product of intervals (or discs), given how far each factor is exceeded."""
    return _norm(excess.clamp_min(0)) + excess.amax(-3).clamp_max(0)


def hull_planes(primitive: Primitive) -> Float[np.ndarray, "f 4"]:
    """Unit outward normals and offsets of a convex piece: inside where ``n x + d <= 0`` for all."""
    return _hull_planes(primitive.vertices)


@lru_cache(maxsize=4096)  # each piece of a body is asked about by every other one when a hand is loaded
def _hull_planes(vertices: tuple[Vector, ...]) -> Float[np.ndarray, "f 4"]:
    planes = np.unique(ConvexHull(np.asarray(vertices)).equations.round(9), axis=0)
    planes.setflags(write=False)
    return planes


def stack_planes(pieces: list[Float[np.ndarray, "_ 4"]]) -> Float[np.ndarray, "k f 4"]:
    """Pad plane lists to one array; a padding plane is infinitely far away and never the largest."""
    most = max((len(p) for p in pieces), default=1)
    padded = np.zeros((len(pieces), most, 4))
    padded[..., 3] = -1e6
    for k, planes in enumerate(pieces):
        padded[k, : len(planes)] = planes
    return padded
