import numpy as np
import pytest
import torch
import trimesh

from sceneleapultra.utils.geometry.sdf import ConvexSdf, sample_surface
from sceneleapultra.utils.records import ObjectRecord

CORNERS = np.array(np.meshgrid(*([-1.0, 1.0],) * 3, indexing="ij")).reshape(3, 8).T


def box_distance(points: np.ndarray, half: np.ndarray) -> np.ndarray:
    beyond = np.abs(points) - half
    return np.linalg.norm(np.maximum(beyond, 0.0), axis=-1) + np.minimum(beyond.max(-1), 0.0)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.1, 0.1, size=(2000, 3))


HALF = np.array([0.02, 0.03, 0.05])


def test_exact_distance_to_a_box(points: np.ndarray) -> None:
    sdf = ConvexSdf([CORNERS * HALF])
    np.testing.assert_allclose(sdf.exact_distance(points), box_distance(points, HALF), atol=2e-6)


def test_distance_is_a_lower_bound_with_the_exact_sign(points: np.ndarray) -> None:
    exact, value = box_distance(points, HALF), ConvexSdf([CORNERS * HALF]).distance(points)
    assert (value <= exact + 1e-7).all()
    assert ((value < 0) == (exact < 0)).all()
    # Opposite a face: at most one coordinate is beyond the box.
    face = (np.abs(points) > HALF).sum(-1) <= 1
    np.testing.assert_allclose(value[face], exact[face], atol=1e-7)
    # At a corner's diagonal the bound is loosest: 1 / sqrt(3) of the distance.
    corner = HALF + 0.01
    np.testing.assert_allclose(ConvexSdf([CORNERS * HALF]).distance(corner[None]), [0.01], atol=1e-7)


def test_sphere(points: np.ndarray) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.04)
    expected = np.linalg.norm(points, axis=-1) - 0.04
    # The facets of the polyhedron lie up to 0.05 mm inside the sphere.
    np.testing.assert_allclose(ConvexSdf([sphere.vertices]).exact_distance(points), expected, atol=1e-4)


def test_union_agrees_with_trimesh(points: np.ndarray) -> None:
    left, right = CORNERS * 0.02 - [0.015, 0, 0], CORNERS * 0.02 + [0.015, 0.01, 0.01]
    boxes = [trimesh.Trimesh(*_hull(piece)) for piece in (left, right)]
    union = trimesh.boolean.union(boxes, engine="manifold")
    expected = -trimesh.proximity.signed_distance(union, points[:300])
    value = ConvexSdf([left, right]).exact_distance(points[:300])
    outside = expected > 0
    np.testing.assert_allclose(value[outside], expected[outside], atol=2e-6)
    assert (value[~outside] <= 1e-7).all()
    assert (value[~outside] >= expected[~outside] - 1e-7).all()  # never deeper than it is


def _hull(piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hull = trimesh.convex.convex_hull(piece)
    return np.asarray(hull.vertices), np.asarray(hull.faces)


def test_normal_is_the_gradient(points: np.ndarray) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=1, radius=0.03).vertices
    sdf = ConvexSdf([sphere - [0.03, 0, 0], CORNERS * HALF])
    batch = torch.tensor(points, dtype=torch.float64).reshape(4, 500, 3).requires_grad_()
    distance, normal = sdf.distance_and_normal(batch)
    torch.testing.assert_close(distance, sdf.distance(batch))
    (gradient,) = torch.autograd.grad(sdf.distance(batch).sum(), batch)
    torch.testing.assert_close(normal, gradient)
    torch.testing.assert_close(
        normal.norm(dim=-1), torch.ones(4, 500, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_exact_distance_has_a_unit_gradient_outside(points: np.ndarray) -> None:
    batch = torch.from_numpy(points).requires_grad_()
    distance = ConvexSdf([CORNERS * HALF]).exact_distance(batch)
    (gradient,) = torch.autograd.grad(distance.sum(), batch)
    torch.testing.assert_close(
        gradient.norm(dim=-1), torch.ones(2000, dtype=torch.float64), atol=1e-4, rtol=0
    )


def test_arrays_and_tensors_agree(points: np.ndarray) -> None:
    sdf = ConvexSdf([CORNERS * HALF]).to("cpu")
    tensor = torch.from_numpy(points.astype(np.float32)).reshape(2, 1000, 3)
    torch.testing.assert_close(torch.from_numpy(sdf.distance(points)).reshape(2, 1000), sdf.distance(tensor))
    assert sdf.distance(points).dtype == np.float32
    assert sdf.distance(np.zeros((0, 3))).shape == (0,)
    assert sdf.exact_distance(np.zeros((2, 0, 3))).shape == (2, 0)


def test_surface_samples_are_even_and_point_outward() -> None:
    vertices, faces = _hull(CORNERS * HALF)
    record = ObjectRecord("box", "box", vertices, faces, (vertices,), 0.1)
    points, normals = sample_surface(record, 20000, np.random.default_rng(1))
    np.testing.assert_allclose(box_distance(points, HALF), 0.0, atol=1e-9)
    np.testing.assert_allclose(box_distance(points + 0.01 * normals, HALF), 0.01, atol=1e-9)
    # Areas of the faces across x, y, z: 2 * 4 * (15, 10, 6) cm2, shares 15/31, 10/31, 6/31.
    shares = (np.abs(normals) > 0.5).mean(axis=0)
    np.testing.assert_allclose(shares, np.array([15, 10, 6]) / 31, atol=0.015)
    again, _ = sample_surface(record, 20000, np.random.default_rng(1))
    np.testing.assert_array_equal(points, again)


@pytest.mark.gpu
def test_cuda_agrees_with_cpu(points: np.ndarray) -> None:
    sdf = ConvexSdf([CORNERS * HALF, CORNERS * 0.03 + 0.02])
    there = sdf.to("cuda").exact_distance(torch.from_numpy(points).float().cuda())
    torch.testing.assert_close(there.cpu(), torch.from_numpy(sdf.exact_distance(points)))
