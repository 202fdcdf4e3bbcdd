"""What a shape is while it is being built: one watertight surface and the convex pieces that fill it.

Builders speak metres, z is the axis of construction. The pieces fill the surface exactly, because both are made of
the same vertices; no decomposition is needed afterwards.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import manifold3d
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from sceneleapultra.utils.parts import Part

# Cubic metres: a tenth of a cubic millimetre.
_NO_VOLUME = 1e-10

Points = Float[np.ndarray, "_ 3"]


@dataclass(frozen=True)
class Solid:
    """A watertight surface and convex pieces whose union it bounds; ``parts`` names each piece, or none at all."""

    surface: manifold3d.Manifold
    pieces: tuple[Points, ...]
    parts: tuple[Part, ...] = ()

    def named(self, *parts: Part) -> "Solid":
        """Return the solid with names for its pieces: one for each, or one for all."""
        return replace(self, parts=parts if len(parts) > 1 else parts * len(self.pieces))

    def mesh(self) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
        """Return vertices and outward wound triangles of the surface."""
        return mesh_of(self.surface)

    def transform(self, T: Float[np.ndarray, "4 4"]) -> "Solid":
        """Move the solid rigidly."""
        pieces = tuple(piece @ T[:3, :3].T + T[:3, 3] for piece in self.pieces)
        return replace(self, surface=self.surface.transform(T[:3]), pieces=pieces)

    def lying(self) -> "Solid":
        """Return the solid turned about y by a right angle: what stood along z lies along x."""
        T = np.eye(4)
        T[:3, :3] = Rotation.from_euler("y", np.pi / 2).as_matrix()
        return self.transform(T)

    def shift(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Solid":
        """Move the solid along the axes."""
        offset = np.array([x, y, z])
        pieces = tuple(piece + offset for piece in self.pieces)
        return replace(self, surface=self.surface.translate(offset), pieces=pieces)


def mesh_of(surface: manifold3d.Manifold) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Return vertices and triangles of a manifold, each vertex once."""
    mesh = surface.to_mesh64()
    vertices = np.array(mesh.vert_properties[:, :3], dtype=np.float64)
    faces = np.array(mesh.tri_verts, dtype=np.int64)
    canonical = np.arange(len(vertices))
    canonical[np.asarray(mesh.merge_from_vert, dtype=np.int64)] = np.asarray(
        mesh.merge_to_vert, dtype=np.int64
    )
    used, faces = np.unique(canonical[faces], return_inverse=True)
    return vertices[used], faces.reshape(-1, 3).astype(np.int32)


def manifold_of(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> manifold3d.Manifold:
    """Return the manifold of a closed triangle mesh.

    Raises:
        ValueError: the mesh is not closed.
    """
    mesh = manifold3d.Mesh64(vert_properties=vertices.astype(np.float64), tri_verts=faces.astype(np.uint64))
    surface = manifold3d.Manifold(mesh)
    if surface.status() != manifold3d.Error.NoError:
        raise ValueError(
            f"Expected a closed surface of triangles, got {surface.status().name}. Repair the mesh."
        )
    return surface


def convex(points: Points) -> Solid:
    """Return the convex hull of points as a solid of one piece."""
    hull = ConvexHull(points)
    corners = np.sort(hull.vertices)
    number = np.full(len(points), -1)
    number[corners] = np.arange(len(corners))
    faces = number[hull.simplices]
    # Qhull gives triangles in either winding, and the outward normal apart.
    a, b, c = (points[corners][faces[:, k]] for k in range(3))
    inward = np.einsum("fi,fi->f", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return Solid(manifold_of(points[corners], faces), (points[corners],))


def hull_vertices(points: Points) -> Points:
    """Return the points that are corners of their convex hull."""
    return points[np.sort(ConvexHull(points).vertices)]


def join(solids: Iterable[Solid]) -> Solid:
    """Return the union of solids that touch or overlap, as one body.

    Raises:
        ValueError: the solids do not hang together.
    """
    parts = list(solids)
    union = manifold3d.Manifold.batch_boolean([part.surface for part in parts], manifold3d.OpType.Add)
    # Where faces meet to within rounding, flat voids of no volume may remain; the body is all the rest.
    bodies = sorted(union.decompose(), key=lambda body: body.volume())
    if any(abs(body.volume()) > _NO_VOLUME for body in bodies[:-1]):
        raise ValueError(
            f"Expected solids that hang together, got {len(bodies)} separate bodies. Move them closer."
        )
    names = tuple(name for part in parts for name in part.parts or (Part.UNNAMED,) * len(part.pieces))
    return Solid(bodies[-1], tuple(piece for part in parts for piece in part.pieces), names)


def box(size_x: float, size_y: float, size_z: float) -> Solid:
    """Return a box centered at the origin."""
    corners = np.array(np.meshgrid(*([-0.5, 0.5],) * 3, indexing="ij")).reshape(3, 8).T
    return convex(corners * np.array([size_x, size_y, size_z]))


def circle(radius: float, z: float, sides: int, turn: float = 0.0) -> Points:
    """Return a regular polygon around the z axis at height ``z``; its corners lie on the circle."""
    angles = turn + 2 * np.pi * np.arange(sides) / sides
    return np.column_stack([radius * np.cos(angles), radius * np.sin(angles), np.full(sides, z)])


def frusta(profile: Sequence[tuple[float, float]], sides: int) -> Solid:
    """Return the body of revolution of a polyline of (radius, z), z rising; one convex piece per section."""
    pieces = (
        hull_vertices(np.vstack([circle(r0, z0, sides), circle(r1, z1, sides)]))
        for (r0, z0), (r1, z1) in itertools.pairwise(profile)
        if z1 > z0
    )
    return Solid(_lathe(profile, sides), tuple(pieces))


def _lathe(profile: Sequence[tuple[float, float]], sides: int) -> manifold3d.Manifold:
    """Return the surface of revolution of a polyline of (radius, z), closed by discs at both ends."""
    outline = np.array([(0.0, profile[0][1]), *profile, (0.0, profile[-1][1])])
    return manifold3d.Manifold.revolve(manifold3d.CrossSection([outline]), sides)


def shell(outer: Sequence[tuple[float, float]], inner: Sequence[tuple[float, float]], sectors: int) -> Solid:
    """Return a vessel: the convex body of revolution ``outer`` less the convex cavity ``inner``, open above.

    Both are polylines of (radius, z) with z rising; the heights of ``inner`` are the last ones of ``outer``.
    The outside has two facets per sector and the cavity one, so that each wall piece is exactly convex.
    """
    if [z for _, z in outer][-len(inner) :] != [z for _, z in inner]:
        raise ValueError(
            f"Expected the cavity's heights to be the last ones of the outside, got {inner}, {outer}."
        )
    body = _lathe(outer, 2 * sectors)
    # The cavity reaches above the rim, so that no faces coincide there.
    cavity = _lathe([*inner, (inner[-1][0], inner[-1][1] + 0.01)], sectors)
    rings = [circle(r, z, sectors) for r, z in inner]
    first = len(outer) - len(inner)
    bottom = [circle(r, z, 2 * sectors) for r, z in outer[: first + 1]]
    pieces = [hull_vertices(np.vstack(bottom))]
    for level in range(len(inner) - 1):
        outside = [circle(r, z, 2 * sectors) for r, z in outer[first + level : first + level + 2]]
        inside = rings[level : level + 2]
        for k in range(sectors):
            around = [2 * k, 2 * k + 1, (2 * k + 2) % (2 * sectors)]
            edge = [k, (k + 1) % sectors]
            pieces.append(np.vstack([*(ring[around] for ring in outside), *(ring[edge] for ring in inside)]))
    return Solid(body - cavity, tuple(pieces), (Part.BASE, *[Part.WALL] * (len(pieces) - 1)))


def torus(section: Float[np.ndarray, "_ 2"], segments: int) -> Solid:
    """Return the ring that a convex polygon of (radius, z) sweeps around the z axis, in straight segments."""
    surface = manifold3d.Manifold.revolve(manifold3d.CrossSection([section]), segments)
    angles = 2 * np.pi * np.arange(segments + 1) / segments
    rings = [
        np.column_stack([section[:, 0] * np.cos(a), section[:, 0] * np.sin(a), section[:, 1]]) for a in angles
    ]
    return Solid(surface, tuple(np.vstack(pair) for pair in itertools.pairwise(rings)))


def tube(path: Points, normals: Points, radii: tuple[float, float], sides: int) -> Solid:
    """Return a bent rod along a plane polyline, one convex piece per straight part.

    Args:
        path: corners of the center line.
        normals: for each corner the in-plane direction across the rod; a bend has the bisector.
        radii: half widths in the plane and across it.
        sides: number of sides of the cross-section.
    """
    angles = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    binormal = np.cross(path[1] - path[0], normals[0])
    binormal /= np.linalg.norm(binormal)
    rings = [
        point + radii[0] * np.cos(angles)[:, None] * normal + radii[1] * np.sin(angles)[:, None] * binormal
        for point, normal in zip(path, normals, strict=True)
    ]
    return join(convex(np.vstack(pair)) for pair in itertools.pairwise(rings))


def superellipsoid(
    half: Float[np.ndarray, "3"], exponents: tuple[float, float], rings: int, sides: int
) -> Solid:
    """Return the convex superquadric with half axes ``half``; exponent 1 is round, towards 0 is square."""
    # The poles are one point each, or they would be a ring of points that nearly coincide.
    u = np.linspace(-np.pi / 2, np.pi / 2, rings)[1:-1, None]
    v = 2 * np.pi * np.arange(sides)[None, :] / sides
    cu, su = _signed_power(np.cos(u), exponents[0]), _signed_power(np.sin(u), exponents[0])
    cv, sv = _signed_power(np.cos(v), exponents[1]), _signed_power(np.sin(v), exponents[1])
    sides_of_body = np.stack(np.broadcast_arrays(cu * cv, cu * sv, su), axis=-1).reshape(-1, 3)
    return convex(half * np.vstack([sides_of_body, [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]]))


def _signed_power(base: Float[np.ndarray, "*n"], exponent: float) -> Float[np.ndarray, "*n"]:
    """Return the power of the magnitude with the sign of the base, zero where the base is rounding of zero."""
    return np.where(np.abs(base) < 1e-12, 0.0, np.sign(base) * np.abs(base) ** exponent)
