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

from sceneleapultra.hands.description import SHAPES, Primitive, Shape, Vector
from sceneleapultra.hands.kinematics import homogeneous


class PrimitiveSet(nn.Module):
    """All primitives of a hand, sorted by shape, each fixed to a body."""

    body: Tensor
    T_body_primitive: Tensor
    size: Tensor
    planes: Tensor

    def __init__(self, owned: list[tuple[int, Primitive]], dtype: torch.dtype) -> None:
        super().__init__()
        owned = sorted(owned, key=lambda pair: SHAPES.index(pair[1].shape))
        self.primitives = tuple(p for _, p in owned)
        self.counts = {s: sum(p.shape == s for p in self.primitives) for s in SHAPES}
        size = np.zeros((len(owned), 3))
        for k, primitive in enumerate(self.primitives):
            size[k, : len(primitive.size)] = primitive.size
        poses = np.stack([homogeneous(p.pos, p.quat_wxyz) for p in self.primitives])
        planes = stack_planes([hull_planes(p) for p in self.primitives if p.shape == "convex"])
        self.register_buffer("body", torch.tensor([i for i, _ in owned]), persistent=False)
        self.register_buffer("T_body_primitive", torch.tensor(poses, dtype=dtype), persistent=False)
        self.register_buffer("size", torch.tensor(size, dtype=dtype), persistent=False)
        self.register_buffer("planes", torch.tensor(planes, dtype=dtype), persistent=False)

    def distances(
        self, points: Float[Tensor, "*#b n 3"], T_frame_body: Float[Tensor, "*#b bodies 4 4"]
    ) -> Float[Tensor, "... p n"]:
        """Signed distance of each point to each primitive, both given in one frame; batch axes broadcast."""
        T = T_frame_body.index_select(-3, self.body) @ self.T_body_primitive
        R, t = T[..., :3, :3], T[..., :3, 3]
        # Rows ordered axis-major, so that x, y, z below are contiguous over points.
        Rt = R.movedim(-1, -3).flatten(-3, -2)  # (… 3p 3)
        offset = (R * t[..., None]).sum(-2).movedim(-1, -2).flatten(-2)  # (… 3p)
        local = Rt @ points.transpose(-1, -2) - offset[..., None]
        local = local.unflatten(-2, (3, len(self.primitives)))
        out, start = [], 0
        for shape, count in self.counts.items():
            if count:
                part = slice(start, start + count)
                x, y, z = local[..., part, :].unbind(-3)
                out.append(self._shape_distance(shape, x, y, z, self.size[part]))
                start += count
        return torch.cat(out, dim=-2)

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

    def _shape_distance(self, shape: Shape, x: Tensor, y: Tensor, z: Tensor, size: Tensor) -> Tensor:
        a, b, c = size[:, 0, None], size[:, 1, None], size[:, 2, None]
        match shape:
            case "box":
                return _from_excess(x.abs() - a, y.abs() - b, z.abs() - c)
            case "capsule":
                return _norm(x, y, z - torch.minimum(torch.maximum(z, -b), b)) - a
            case "cylinder":
                return _from_excess(_norm(x, y) - a, z.abs() - b)
            case "sphere":
                return _norm(x, y, z) - a
            case "convex":
                normals, offsets = self.planes[..., :3], self.planes[..., 3:]
                xyz = torch.stack((x, y, z), dim=-2)  # (… k 3 n)
                return (normals @ xyz + offsets).amax(-2)


def _norm(*parts: Tensor) -> Tensor:
    # Clamped, so that the gradient at zero is zero and not NaN.
    square = sum((p * p for p in parts[1:]), parts[0] * parts[0])
    return square.clamp_min(1e-24).sqrt()


def _from_excess(*excess: Tensor) -> Tensor:
    """Distance of a product of intervals (or discs), given how far each factor is exceeded."""
    largest = excess[0]
    for e in excess[1:]:
        largest = torch.maximum(largest, e)
    outside = sum((e.clamp_min(0).square() for e in excess[1:]), excess[0].clamp_min(0).square())
    return torch.where(largest > 0, outside.clamp_min(1e-24).sqrt(), largest)


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
