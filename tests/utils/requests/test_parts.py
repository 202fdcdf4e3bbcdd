"""Are objects that touch told apart, and is one object left whole?"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from sceneleapultra.simulation.objects import make_object
from sceneleapultra.simulation.raycast import RayCaster
from sceneleapultra.utils.records import ObjectRecord, Scene
from sceneleapultra.utils.requests import GraspRequest, Target
from sceneleapultra.utils.requests.clusters import Cluster, find_clusters

K = np.array([[407.0, 0.0, 211.5], [0.0, 407.0, 119.5], [0.0, 0.0, 1.0]])  # of 424 x 240 pixels
NOISE = 0.002  # of the depth
TILT = np.deg2rad(40.0)

Body = tuple[trimesh.Trimesh, tuple[float, float, float]]  # and its middle (m); the camera looks along +y
BOX: Body = (trimesh.creation.box((0.07, 0.06, 0.09)), (0.0, 0.0, 0.045))
SPHERE: tuple[Body, ...] = (BOX, (trimesh.creation.icosphere(4, 0.03), (0.065, -0.02, 0.03)))
CYLINDER: tuple[Body, ...] = (
    BOX,
    (trimesh.creation.cylinder(0.025, 0.05, sections=48), (0.0, -0.055, 0.025)),
)
TURNED: tuple[Body, ...] = (  # its edge touches the first one's front
    BOX,
    (
        trimesh.creation.box((0.05, 0.05, 0.08)).apply_transform(
            trimesh.transformations.rotation_matrix(np.pi / 4, (0.0, 0.0, 1.0))
        ),
        (0.0, -0.03 - 0.05 / np.sqrt(2.0), 0.04),
    ),
)
FLUSH: tuple[Body, ...] = (
    (trimesh.creation.box((0.05, 0.06, 0.08)), (-0.025, 0.0, 0.04)),
    (trimesh.creation.box((0.05, 0.06, 0.08)), (0.025, 0.0, 0.04)),
)
L_SHAPE = trimesh.boolean.union(
    [
        trimesh.creation.box((0.10, 0.04, 0.03)).apply_translation((0.0, 0.0, -0.03)),
        trimesh.creation.box((0.03, 0.04, 0.09)).apply_translation((-0.035, 0.0, 0.0)),
    ]
)


class Rendered:
    """A depth image of objects on a table, with the noise of a sensor, and which of them each pixel shows."""

    def __init__(self, objects: Sequence[ObjectRecord], middles: Any, scale: int = 1) -> None:
        poses = np.tile(np.eye(4), (len(objects), 1, 1))
        poses[:, :3, 3] = middles
        self.K = np.diag([scale, scale, 1.0]) @ K
        forward = np.array([0.0, np.cos(TILT), -np.sin(TILT)])
        T = np.eye(4)
        T[:3, :3] = np.stack([[1.0, 0.0, 0.0], np.cross(forward, [1.0, 0.0, 0.0]), forward], axis=1)
        T[:3, 3] = np.array([0.0, 0.0, 0.04]) - 0.6 * forward
        caster = RayCaster(Scene(tuple(objects), poses, table=True))
        depth, self.instance = caster.render(T, self.K, 424 * scale, 240 * scale)
        noise = np.random.default_rng(0).standard_normal(depth.shape)
        self.depth = depth.astype(np.float64) * (1.0 + NOISE * noise)
        self.up, self.shown = T[2, :3], self.instance.ravel()
        v, u = np.indices(depth.shape)
        x, y = (u - self.K[0, 2]) / self.K[0, 0], (v - self.K[1, 2]) / self.K[1, 1]
        self.points = np.stack([x * self.depth, y * self.depth, self.depth], axis=-1).reshape(-1, 3)
        self.above = np.flatnonzero(self.points @ T[2, :3] + T[2, 3] > 0.005)

    def pixel(self, number: int) -> tuple[int, int]:
        rows, columns = np.nonzero(self.instance == number)
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        return int(columns[nearest]), int(rows[nearest])

    def overlap(self, number: int, marked: np.ndarray) -> float:
        """Intersection over union of what is marked with the points of an object above the table."""
        true = np.zeros(len(self.points), dtype=bool)
        true[self.above] = self.shown[self.above] == number
        return float((true & marked).sum() / (true | marked).sum())


def rendered(bodies: Sequence[Body], scale: int = 1) -> Rendered:
    objects = [
        ObjectRecord(f"body-{i}", "body", np.asarray(mesh.vertices), np.asarray(mesh.faces), (), 0.1)
        for i, (mesh, _) in enumerate(bodies)
    ]
    return Rendered(objects, [middle for _, middle in bodies], scale)


def clusters(view: Rendered) -> tuple[Cluster, ...]:
    return find_clusters(view.points, view.above, None, np.zeros(3))


@pytest.mark.parametrize("bodies", [SPHERE, CYLINDER, TURNED])
def test_what_touches_is_two(bodies: tuple[Body, ...]) -> None:
    view = rendered(bodies)
    one, other = (view.points[view.above[view.shown[view.above] == number]] for number in (1, 2))
    assert cKDTree(one).query(other)[0].min() < 0.005  # in this view: nearness does not tell them apart
    assert len(clusters(view)) == 2
    for number in (1, 2):
        named = GraspRequest.from_depth(view.depth, view.K, target=Target(pixel=view.pixel(number)))
        assert view.overlap(number, named.object_mask) > 0.95


def test_touching_objects_are_listed_by_number() -> None:
    view = rendered(SPHERE)
    with pytest.raises(ValueError, match="2 objects stand on the table"):
        GraspRequest.from_depth(view.depth, view.K)


def test_points_in_any_order_and_frame_are_told_apart_alike() -> None:
    view = rendered(CYLINDER)
    order = np.random.default_rng(1).permutation(len(view.points))
    shift = np.array([4000.0, -200.0, 30.0])
    u, v = view.pixel(1)
    request = GraspRequest.from_points(
        view.points[order] + shift,
        target=Target(at=tuple(view.points[v * 424 + u] + shift)),
        up=view.up,
        viewpoint=shift,
    )
    marked = np.zeros(len(order), dtype=bool)
    marked[order] = request.object_mask
    assert view.overlap(1, marked) > 0.95


def test_the_same_cloud_gives_the_same_objects() -> None:
    view = rendered(TURNED)
    for one, other in zip(clusters(view), clusters(view), strict=True):
        np.testing.assert_array_equal(one.index, other.index)


def test_an_l_stays_whole() -> None:
    (found,) = clusters(rendered([(L_SHAPE, (0.0, 0.0, 0.045))]))
    assert found.size_m[0] > 0.11


@pytest.mark.parametrize("family", ["mug", "bottle", "bowl", "cup", "ring", "polyshape"])
def test_one_object_with_creases_stays_whole(family: str) -> None:
    for seed in range(2):
        record = make_object(family, seed)
        view = Rendered([record], [[0.0, 0.0, -record.vertices[:, 2].min()]])
        marked = np.zeros(len(view.points), dtype=bool)
        marked[clusters(view)[0].index] = True
        assert view.overlap(1, marked) > 0.9, seed


def test_objects_flush_in_all_that_is_seen_are_one() -> None:
    """Depth has nothing to tell them apart by."""
    assert len(clusters(rendered(FLUSH))) == 1


def test_a_pixel_beside_an_object_names_it() -> None:
    """As in the hole of a ring, whose inner side is hidden or too low to be told from the table."""
    record = make_object("ring", 0)
    view = Rendered([record], [[0.0, 0.0, -record.vertices[:, 2].min()]])
    found = clusters(view)[0].index
    rows, columns = np.divmod(found, 424)
    below = (int(columns[rows.argmax()]), int(rows.max()) + 4)
    named = GraspRequest.from_depth(view.depth, view.K, target=Target(pixel=below))
    assert view.overlap(1, named.object_mask) > 0.9
    with pytest.raises(ValueError, match="shows the table"):
        GraspRequest.from_depth(view.depth, view.K, target=Target(pixel=(below[0], below[1] + 10)))


def test_a_large_view_takes_less_than_a_second() -> None:
    view = rendered([*SPHERE, (trimesh.creation.box((0.15, 0.10, 0.12)), (0.12, 0.1, 0.06))], scale=2)
    start = time.process_time()
    assert len(clusters(view)) >= 2
    assert time.process_time() - start < 1.0
