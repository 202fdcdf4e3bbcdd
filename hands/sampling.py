"""Which points and spheres stand for the hand's surface: drawn once, from its primitives, with a fixed seed."""

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int

from sceneleapultra.hands.description import Body, ContactPatch, HandDescription, Primitive
from sceneleapultra.hands.geometry import PrimitiveSet, hull_planes
from sceneleapultra.hands.kinematics import homogeneous
from sceneleapultra.utils.core.names import unknown_name


@dataclass(frozen=True)
class SurfaceSet:
    """Points with outward unit normals, each in the frame of its body."""

    body: Int[np.ndarray, "n"]
    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class SphereSet:
    """Spheres inside the hand, each in the frame of its body."""

    body: Int[np.ndarray, "s"]
    centers: Float[np.ndarray, "s 3"]
    radii: Float[np.ndarray, "s"]


def primitive_mesh(primitive: Primitive) -> trimesh.Trimesh:
    """Triangulate a primitive, in its body's frame."""
    size = primitive.size
    match primitive.shape:
        case "box":
            mesh = trimesh.creation.box(extents=2 * np.asarray(size))
        case "capsule":
            mesh = trimesh.creation.capsule(height=2 * size[1], radius=size[0], count=[12, 12])
            mesh.apply_translation([0, 0, -mesh.bounds.mean(0)[2]])
        case "cylinder":
            mesh = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=24)
        case "sphere":
            mesh = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
        case "convex":
            mesh = trimesh.PointCloud(np.asarray(primitive.vertices)).convex_hull
    mesh.apply_transform(homogeneous(primitive.pos, primitive.quat_wxyz))
    return mesh


def surface_set(description: HandDescription, count: int, seed: int) -> SurfaceSet:
    """Sample the visible surface of every body by area, in farthest-point order at the zero pose of each body.

    Points inside another primitive of the same body are dropped. The order is over all bodies with an offset
    between them, so each prefix covers the whole hand.
    """
    rng = np.random.default_rng([seed, 1])
    owned = [
        (i, k, p, primitive_mesh(p))
        for i, b in enumerate(description.bodies)
        for k, p in enumerate(b.primitives)
    ]
    total = sum(mesh.area for *_, mesh in owned)
    bodies, points, normals = [], [], []
    for i, k, primitive, mesh in owned:
        drawn, normal = _sample_surface(primitive, mesh, max(8, round(8 * count * mesh.area / total)), rng)
        keep = _exposed(description.bodies[i], k, drawn, normal)
        bodies.append(np.full(keep.sum(), i))
        points.append(drawn[keep])
        normals.append(normal[keep])
    body, point, normal = np.concatenate(bodies), np.concatenate(points), np.concatenate(normals)
    # Bodies set one metre apart: the distance between them never decides the order within one of them.
    spread = point + np.array([1.0, 0, 0]) * body[:, None]
    order = _farthest_point_order(spread, min(count, len(spread)))
    return SurfaceSet(body[order], point[order], normal[order])


def contact_set(description: HandDescription, per_patch: int, min_cos: float, seed: int) -> SurfaceSet:
    """Choose contact candidates on each pad: normals within the pad's cone, the cap towards the hand left out."""
    rng = np.random.default_rng([seed, 2])
    bodies, points, normals = [], [], []
    for patch in description.semantics.contacts or ():
        i = description.body_names.index(patch.body)
        primitive = _patch_primitive(description.bodies[i], patch)
        drawn, normal = _sample_surface(primitive, primitive_mesh(primitive), 4000, rng)
        pad = normal @ np.asarray(patch.pad_direction) > min_cos
        pad &= normal @ np.asarray(patch.distal_direction) > -0.15
        pad &= _exposed(description.bodies[i], patch.primitive, drawn, normal)
        drawn, normal = drawn[pad], normal[pad]
        if len(drawn) < per_patch:
            raise ValueError(
                f"Hand '{description.name}': the contact patch of '{patch.body}' has {len(drawn)} exposed surface "
                f"points in its pad direction, expected at least {per_patch}. Check its directions and primitive."
            )
        order = _farthest_point_order(drawn, per_patch)
        bodies.append(np.full(per_patch, i))
        points.append(drawn[order])
        normals.append(normal[order])
    return SurfaceSet(np.concatenate(bodies), np.concatenate(points), np.concatenate(normals))


def sphere_set(description: HandDescription) -> SphereSet:
    """Fill each primitive with spheres of its smallest half extent, at most about one radius apart.

    Spheres inside another primitive of the same body are dropped. Box edges stay bare by (sqrt 3 - 1) radii.
    """
    bodies, centers, radii = [], [], []
    for i, body in enumerate(description.bodies):
        for k, primitive in enumerate(body.primitives):
            local, radius = _fill(primitive)
            T = homogeneous(primitive.pos, primitive.quat_wxyz)
            placed = local @ T[:3, :3].T + T[:3, 3]
            keep = _depth_in_others(body, k, placed) < radius
            bodies.append(np.full(keep.sum(), i))
            centers.append(placed[keep])
            radii.append(radius[keep])
    return SphereSet(np.concatenate(bodies), np.concatenate(centers), np.concatenate(radii))


def _fill(primitive: Primitive) -> tuple[Float[np.ndarray, "s 3"], Float[np.ndarray, "s"]]:
    size = np.asarray(primitive.size)
    match primitive.shape:
        case "sphere":
            half, radius = np.zeros(3), size[0]
        case "capsule":
            half, radius = np.array([0, 0, size[1]]), size[0]
        case "cylinder":
            radius = size.min()
            half = np.array([size[0] - radius, size[0] - radius, size[1] - radius])
        case "box":
            radius = size.min()
            half = size - radius
        case "convex":
            return _fill_convex(np.asarray(primitive.vertices))
    spacing = max(1.3 * radius, 0.006)
    axes = [
        np.linspace(-h, h, 1 + int(np.ceil(2 * h / spacing - 1e-9))) if h > 0 else np.zeros(1) for h in half
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if primitive.shape == "cylinder":
        grid = grid[np.linalg.norm(grid[:, :2], axis=1) <= half[0] + 1e-12]
    return grid, np.full(len(grid), radius)


def _fill_convex(
    vertices: Float[np.ndarray, "v 3"],
) -> tuple[Float[np.ndarray, "s 3"], Float[np.ndarray, "s"]]:
    planes = hull_planes(Primitive("convex", (), vertices=tuple(map(tuple, vertices))))
    low, high = vertices.min(0), vertices.max(0)
    spacing = np.clip((high - low).min() / 4, 0.003, 0.01)
    axes = [np.arange(a + spacing / 2, b, spacing) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    depth = -(grid @ planes[:, :3].T + planes[:, 3]).max(1)
    inside = depth > 0.3 * spacing
    order = np.argsort(-depth[inside], kind="stable")
    grid, depth = grid[inside][order], depth[inside][order]
    kept: list[int] = []
    for k in range(len(grid)):  # Largest first; a sphere is kept where it reaches out of those already there.
        gap = np.linalg.norm(grid[kept] - grid[k], axis=1)
        if not kept or (gap + 0.5 * depth[k] > depth[kept]).all():
            kept.append(k)
    return grid[kept], depth[kept]


def _exposed(
    body: Body, own: int, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> np.ndarray:
    # A little outside, so that the seam between two primitives that touch does not count as surface.
    return _depth_in_others(body, own, points + 1e-4 * normals) < 0


def _depth_in_others(body: Body, own: int, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    others = tuple(p for k, p in enumerate(body.primitives) if k != own)
    if not others:
        return np.full(len(points), -np.inf)
    return -primitives_distance(others, points)


def primitives_distance(primitives: tuple[Primitive, ...], points: Float[np.ndarray, "n 3"]) -> np.ndarray:
    """Signed distance of points to a union of primitives, all in one body's frame, in double precision."""
    solid = PrimitiveSet([(0, p) for p in primitives], torch.float64)
    eye = torch.eye(4, dtype=torch.float64)[None]
    return solid(torch.as_tensor(points, dtype=torch.float64), eye).numpy()


def _patch_primitive(body: Body, patch: ContactPatch) -> Primitive:
    if not 0 <= patch.primitive < len(body.primitives):
        raise unknown_name(
            f"primitive of contact body '{body.name}'",
            str(patch.primitive),
            map(str, range(len(body.primitives))),
        )
    return body.primitives[patch.primitive]


def _sample_surface(
    primitive: Primitive, mesh: trimesh.Trimesh, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    corners = mesh.triangles
    face = rng.choice(len(corners), size=n, p=mesh.area_faces / mesh.area_faces.sum())
    u, v = rng.random((2, n, 1))
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u), np.where(fold, 1 - v, v)
    a, b, c = np.moveaxis(corners[face], 1, 0)
    points, normals = a + u * (b - a) + v * (c - a), mesh.face_normals[face]
    if primitive.shape in ("capsule", "sphere"):  # From the facets out to the round surface.
        half = primitive.size[1] if primitive.shape == "capsule" else 0.0
        T = homogeneous(primitive.pos, primitive.quat_wxyz)
        along = ((points - T[:3, 3]) @ T[:3, 2]).clip(-half, half)
        axis = T[:3, 3] + along[:, None] * T[:3, 2]
        normals = (points - axis) / np.linalg.norm(points - axis, axis=1, keepdims=True)
        points = axis + primitive.size[0] * normals
    return points, normals


def _farthest_point_order(points: Float[np.ndarray, "n 3"], k: int) -> Int[np.ndarray, "k"]:
    order = np.zeros(k, dtype=np.int64)
    nearest = np.full(len(points), np.inf)
    for i in range(1, k):
        nearest = np.minimum(nearest, ((points - points[order[i - 1]]) ** 2).sum(1))
        order[i] = nearest.argmax()
    return order
