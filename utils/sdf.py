"""How far a point is from a solid made of convex pieces, and where points lie on an object's surface.

A convex piece is the set n_i . x <= o_i, so max_i (n_i . x - o_i) is its signed distance inside and beside its
faces; the solid is the minimum over its pieces.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import ConvexHull
from torch import Tensor

from utils.records import ObjectRecord

# Values (points x planes) held at once.
_CHUNK = 1 << 22


class ConvexSdf:
    """Signed distance to a union of convex pieces, negative inside; a point's distance costs one product per plane.

    The sign is exact everywhere. Outside, next to a face, so is the value; next to an edge or a corner it is a
    lower bound. Inside, it is the depth in the deepest single piece: a lower bound of the true depth where
    pieces meet. Numpy arrays give float32 arrays, tensors give tensors (differentiable).
    """

    def __init__(self, pieces: Sequence[Float[np.ndarray, "_ 3"]]) -> None:
        planes = [_hull_planes(piece) for piece in pieces]
        width = max(len(p) for p in planes)
        # A piece with fewer planes repeats its first one, which changes no maximum.
        padded = [np.vstack([p, np.repeat(p[:1], width - len(p), axis=0)]) for p in planes]
        self.planes: Float[Tensor, "p h 4"] = torch.from_numpy(np.stack(padded).astype(np.float32))

    def to(self, device: torch.device | str) -> "ConvexSdf":
        """Return the same solid with its planes on a device."""
        moved = object.__new__(ConvexSdf)
        moved.planes = self.planes.to(device)
        return moved

    @overload
    def distance(self, points: np.ndarray) -> np.ndarray: ...
    @overload
    def distance(self, points: Tensor) -> Tensor: ...
    def distance(
        self, points: Float[Tensor, "*b n 3"] | Float[np.ndarray, "*b n 3"]
    ) -> Float[Tensor, "*b n"] | Float[np.ndarray, "*b n"]:
        """Return the signed distance of points in the frame of the pieces."""
        if isinstance(points, np.ndarray):
            return self.distance(torch.from_numpy(points.astype(np.float32))).numpy()
        flat = points.reshape(-1, 3)
        return torch.cat([self._heights(part).amax(-1).amin(-1) for part in self._parts(flat)]).reshape(
            points.shape[:-1]
        )

    @overload
    def distance_and_normal(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    @overload
    def distance_and_normal(self, points: Tensor) -> tuple[Tensor, Tensor]: ...
    def distance_and_normal(
        self, points: Float[Tensor, "*b n 3"] | Float[np.ndarray, "*b n 3"]
    ) -> (
        tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n 3"]]
        | tuple[Float[np.ndarray, "*b n"], Float[np.ndarray, "*b n 3"]]
    ):
        """Return the signed distance and its gradient: the outward normal of the plane that decides it."""
        if isinstance(points, np.ndarray):
            distance, normal = self.distance_and_normal(torch.from_numpy(points.astype(np.float32)))
            return distance.numpy(), normal.numpy()
        flat = points.reshape(-1, 3)
        distances, normals = [], []
        for part in self._parts(flat):
            per_piece, plane = self._heights(part).max(-1)
            least, piece = per_piece.min(-1)
            distances.append(least)
            normals.append(self.planes[piece, plane.gather(-1, piece[:, None])[:, 0], :3])
        return torch.cat(distances).reshape(points.shape[:-1]), torch.cat(normals).reshape(points.shape)

    def _parts(self, flat: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "_ 3"], ...]:
        num_planes = self.planes.shape[0] * self.planes.shape[1]
        return flat.split(max(1, _CHUNK // num_planes))

    def _heights(self, flat: Float[Tensor, "n 3"]) -> Float[Tensor, "n p h"]:
        planes = self.planes.reshape(-1, 4).to(flat)
        heights = torch.addmm(planes[:, 3], flat, planes[:, :3].T)
        return heights.reshape(-1, *self.planes.shape[:2])


def _hull_planes(piece: Float[np.ndarray, "_ 3"]) -> Float[np.ndarray, "h 4"]:
    """Return unit normals and offsets of a hull's faces, each plane once (faces come as triangles)."""
    equations = ConvexHull(piece).equations
    keys = np.round(equations * [1e5, 1e5, 1e5, 1e7]).astype(np.int64)
    _, first = np.unique(keys, axis=0, return_index=True)
    return equations[np.sort(first)]


def sample_surface(
    record: ObjectRecord, n: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Return ``n`` points spread evenly by area over an object's surface, and the outward normals there."""
    a, b, c = (record.vertices[record.faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    double_area = np.linalg.norm(cross, axis=1)
    cumulative = np.cumsum(double_area)
    face = np.searchsorted(cumulative, rng.uniform(0.0, cumulative[-1], size=n), side="right")
    face = np.minimum(face, len(cumulative) - 1)
    u, v = rng.uniform(size=(2, n, 1))
    beyond = u + v > 1
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    points = a[face] + u * (b - a)[face] + v * (c - a)[face]
    return points, cross[face] / double_area[face, None]
