import mujoco
import numpy as np
import pytest
import trimesh

from sceneleapultra.simulation.objects import FAMILIES, FLAT_FAMILIES, OBJECT_MASS, make_object, object_color
from sceneleapultra.simulation.objects.solid import box, join, shell
from sceneleapultra.utils.geometry.sdf import ConvexSdf, sample_surface
from sceneleapultra.utils.parts import Part
from sceneleapultra.utils.records import ObjectRecord

SEEDS = range(8)


@pytest.fixture(scope="module", params=(*FAMILIES, *FLAT_FAMILIES))
def objects(request: pytest.FixtureRequest) -> list[ObjectRecord]:
    return [make_object(request.param, seed) for seed in SEEDS]


def test_fourteen_families() -> None:
    assert len(FAMILIES) >= 14


def test_surface_is_one_closed_body_around_its_center(objects: list[ObjectRecord]) -> None:
    for record in objects:
        mesh = trimesh.Trimesh(record.vertices, record.faces, process=False)
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.body_count == 1, record.name
        assert mesh.volume > (1e-5 if record.family in FAMILIES else 2e-6), record.name
        np.testing.assert_allclose(mesh.center_mass, 0.0, atol=1e-9)
        assert len(record.vertices) < 1500
        if record.family in FAMILIES:
            assert record.mass == OBJECT_MASS
        else:
            assert 500.0 <= record.mass / mesh.volume <= 2700.0, record.name  # wood to aluminium


def test_pieces_fill_the_surface(objects: list[ObjectRecord]) -> None:
    rng = np.random.default_rng(0)
    for record in objects:
        sdf = ConvexSdf(record.pieces)
        points, normals = sample_surface(record, 500, rng)
        np.testing.assert_allclose(sdf.distance(points), 0.0, atol=1e-4, err_msg=record.name)
        # Half a millimetre to either side of the surface is outside and inside, but for creases.
        assert (sdf.distance(points + 5e-4 * normals) > 0).mean() > 0.97, record.name
        assert (sdf.distance(points - 5e-4 * normals) < 0).mean() > 0.97, record.name


def test_sizes_suit_a_hand(objects: list[ObjectRecord]) -> None:
    for record in objects:
        width, middle, length = np.sort(np.ptp(record.vertices, axis=0))
        if record.family in FAMILIES:
            assert 0.018 < width < 0.095 and 0.035 < length < 0.195, record.name
        else:  # built as they lie
            assert 0.0079 < np.ptp(record.vertices[:, 2]) < 0.046, record.name
            assert 0.0079 < width < 0.036 and middle < 0.075 and length < 0.190, record.name


def test_seeds_and_families_decide(objects: list[ObjectRecord]) -> None:
    again = make_object(objects[3].family, 3)
    np.testing.assert_array_equal(again.vertices, objects[3].vertices)
    np.testing.assert_array_equal(again.faces, objects[3].faces)
    for one, other in zip(again.pieces, objects[3].pieces, strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.name == f"{again.family}-000003"
    extents = {tuple(np.ptp(record.vertices, axis=0).round(5)) for record in objects}
    assert len(extents) == len(objects)


def test_pieces_are_what_mujoco_takes(objects: list[ObjectRecord]) -> None:
    spec = mujoco.MjSpec()
    spec.compiler.inertiafromgeom = 1
    body = spec.worldbody.add_body()
    body.add_freejoint()
    for k, piece in enumerate(objects[0].pieces):
        spec.add_mesh(name=f"piece{k}", uservert=piece.reshape(-1))
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"piece{k}", density=1000)
    model = spec.compile()
    volume = trimesh.Trimesh(objects[0].vertices, objects[0].faces, process=False).volume
    # Kilograms at 1000 kg / m3; overlapping pieces count twice.
    assert 0.999 * 1000 * volume < model.body_mass[1] < 1.6 * 1000 * volume


def test_parts_lie_where_their_names_say(objects: list[ObjectRecord]) -> None:
    """Every piece of a family with parts has a name; what is above, below or beside the body is."""
    for record in objects:
        if record.piece_part is None:
            assert record.family not in ("bottle", "cup", "bowl", "mug", "hammer", "dumbbell", "tool")
            continue
        points: dict[Part, np.ndarray] = {}
        for part, vertices in zip(map(Part, record.piece_part), record.pieces, strict=True):
            points[part] = np.vstack([points[part], vertices]) if part in points else vertices
        low, high = ({part: end(v[:, 2]) for part, v in points.items()} for end in (np.min, np.max))
        assert Part.UNNAMED not in points
        for below, above in ((Part.BASE, Part.WALL), (Part.BODY, Part.NECK), (Part.NECK, Part.LID)):
            if below in points and above in points:
                assert high[below] <= low[above] + 1e-9, record.name
        if record.family == "mug":
            assert points[Part.HANDLE][:, 0].max() > points[Part.WALL][:, 0].max() + 0.01
        if record.family == "dumbbell":
            assert np.ptp(points[Part.WEIGHT][:, 0]) > np.ptp(points[Part.HANDLE][:, 0])


def test_random_objects_of_many_seeds_are_closed() -> None:
    for family in (*FAMILIES, *FLAT_FAMILIES):
        for seed in range(100, 120):
            record = make_object(family, seed)
            mesh = trimesh.Trimesh(record.vertices, record.faces, process=False)
            assert mesh.is_watertight and mesh.volume > 0, record.name


def test_unknown_family_and_negative_seed() -> None:
    with pytest.raises(ValueError, match=r"Unknown object family 'mugs'\. Did you mean 'mug'"):
        make_object("mugs", 0)
    with pytest.raises(ValueError, match="Expected a seed of at least 0"):
        make_object("mug", -1)


def test_parts_that_do_not_touch_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected solids that hang together, got 2 separate bodies"):
        join([box(0.1, 0.1, 0.1), box(0.1, 0.1, 0.1).shift(x=0.2)])


def test_cavity_must_share_the_heights_of_the_outside() -> None:
    with pytest.raises(ValueError, match="Expected the cavity's heights"):
        shell([(0.03, 0.0), (0.04, 0.1)], [(0.02, 0.05), (0.03, 0.1)], sectors=12)


def test_colors_are_stable_and_different() -> None:
    colors = {tuple(object_color(f"mug-{seed:06d}").tolist()) for seed in range(50)}
    assert len(colors) > 45
    assert object_color("mug-000000").dtype == np.uint8
    np.testing.assert_array_equal(object_color("mug-000000"), object_color("mug-000000"))
