from pathlib import Path

import numpy as np
import pytest
import trimesh

from sceneleapultra.simulation.objects import decomposition, load_objects, make_object
from sceneleapultra.utils.geometry.sdf import ConvexSdf, sample_surface

YCB = Path(__file__).parents[4] / "shared" / "data" / "objects" / "ycb"


def write_box(
    path: Path, extents: tuple[float, float, float], at: tuple[float, float, float] = (0, 0, 0)
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh = trimesh.creation.box(extents=extents)
    mesh.apply_translation(at)
    mesh.export(path)
    return path


def write_with_groups(path: Path, boxes: list[trimesh.Trimesh]) -> None:
    """Write one ``o`` group per box."""
    lines, first = [], 1
    for k, mesh in enumerate(boxes):
        lines.append(f"o piece_{k}")
        lines += [f"v {x} {y} {z}" for x, y, z in mesh.vertices]
        lines += [f"f {a + first}//1 {b + first}//1 {c + first}//1" for a, b, c in mesh.faces]
        first += len(mesh.vertices)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def l_shape() -> tuple[list[trimesh.Trimesh], trimesh.Trimesh]:
    long, short = trimesh.creation.box((0.03, 0.09, 0.04)), trimesh.creation.box((0.04, 0.03, 0.04))
    short.apply_translation([0.03, -0.03, 0.0])
    union = trimesh.boolean.union([long, short], engine="manifold")
    return [long, short], union


@pytest.mark.parametrize("suffix", [".obj", ".stl", ".ply"])
def test_single_file_is_centered_and_named(tmp_path: Path, suffix: str) -> None:
    file = write_box(tmp_path / "bricks" / f"red{suffix}", (0.04, 0.05, 0.06), at=(1.0, -0.3, 0.2))
    (record,) = load_objects(file, cache=tmp_path / "cache")
    assert (record.name, record.family) == ("red", "bricks")
    np.testing.assert_allclose(np.ptp(record.vertices, axis=0), [0.04, 0.05, 0.06], atol=1e-6)
    np.testing.assert_allclose(record.vertices.mean(0), 0.0, atol=1e-6)
    assert len(record.pieces) == 1


def test_folder_is_searched_and_sorted(tmp_path: Path) -> None:
    write_box(tmp_path / "things" / "b" / "two.stl", (0.04, 0.05, 0.06))
    write_box(tmp_path / "things" / "b" / "one.stl", (0.04, 0.05, 0.06))
    write_box(tmp_path / "things" / "zero.stl", (0.04, 0.05, 0.06))
    records = load_objects(tmp_path / "things", cache=tmp_path / "cache")
    assert [(r.name, r.family) for r in records] == [("b-one", "b"), ("b-two", "b"), ("zero", "things")]


def test_decomposition_covers_the_surface_and_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, union = l_shape()
    union.export(tmp_path / "ell.stl")
    cache = tmp_path / "cache"
    (record,) = load_objects(tmp_path / "ell.stl", cache=cache)
    assert len(record.pieces) >= 2
    points, _ = sample_surface(record, 2000, np.random.default_rng(0))
    distance = np.abs(ConvexSdf(record.pieces).distance(points))
    assert np.quantile(distance, 0.95) < 2e-3
    (stored,) = cache.iterdir()
    written = stored.stat().st_mtime_ns

    def must_not_run(*args: object, **kwargs: object) -> None:
        raise AssertionError("decomposed twice")

    monkeypatch.setattr(decomposition.coacd, "run_coacd", must_not_run)
    (again,) = load_objects(tmp_path / "ell.stl", cache=cache)
    assert stored.stat().st_mtime_ns == written
    for one, other in zip(record.pieces, again.pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pieces_beside_the_surface_are_used(tmp_path: Path) -> None:
    boxes, union = l_shape()
    folder = tmp_path / "shapes" / "ell"
    folder.mkdir(parents=True)
    union.export(folder / "visual.obj")
    write_with_groups(folder / "collision.obj", boxes)
    (record,) = load_objects(tmp_path / "shapes", cache=tmp_path / "cache")
    assert (record.name, record.family, len(record.pieces)) == ("ell", "shapes", 2)
    assert not (tmp_path / "cache").exists()
    # Center of mass along x: the long box has 0.03 x 0.09 x 0.04 = 1.08e-4 m3 at x = 0,
    # the short one beyond it, from 0.015 to 0.05, 0.035 x 0.03 x 0.04 = 4.2e-5 m3 at x = 0.0325.
    center_x = 4.2e-5 * 0.0325 / (1.08e-4 + 4.2e-5)
    np.testing.assert_allclose(record.vertices[:, 0].min(), -0.015 - center_x, atol=1e-6)

    (folder / "collision.obj").unlink()
    for k, mesh in enumerate(boxes):
        write_with_groups(folder / "meshes" / f"convex_piece_{k:03d}.obj", [mesh])
    (other,) = load_objects(folder, cache=tmp_path / "cache")
    assert (other.name, other.family) == ("ell", "shapes")
    for one, two in zip(record.pieces, other.pieces, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-9)


def test_an_open_surface_needs_pieces_and_then_they_are_the_solid(tmp_path: Path) -> None:
    boxes, union = l_shape()
    opened = trimesh.Trimesh(union.vertices, union.faces[2:], process=False)
    folder = tmp_path / "ell"
    folder.mkdir()
    opened.export(folder / "visual.obj")
    with pytest.raises(ValueError, match="Expected a watertight mesh"):
        load_objects(folder, cache=tmp_path / "cache")
    write_with_groups(folder / "collision.obj", boxes)
    (record,) = load_objects(folder, cache=tmp_path / "cache")
    assert len(record.faces) == len(union.faces) - 2
    center = union.center_mass
    np.testing.assert_allclose(record.vertices.min(0), union.vertices.min(0) - center, atol=1e-6)


def test_a_surface_moved_to_inside_is_turned_out(tmp_path: Path) -> None:
    mesh = trimesh.creation.box((0.04, 0.05, 0.06))
    mesh.invert()
    mesh.export(tmp_path / "box.stl")
    (record,) = load_objects(tmp_path / "box.stl", cache=tmp_path / "cache")
    assert trimesh.Trimesh(record.vertices, record.faces, process=False).volume > 0


def test_a_procedural_object_survives_the_way_through_a_file(tmp_path: Path) -> None:
    cup = make_object("cup", 0)
    folder = tmp_path / "cup"
    folder.mkdir()
    trimesh.Trimesh(cup.vertices, cup.faces, process=False).export(folder / "visual.obj", digits=12)
    write_with_groups(folder / "collision.obj", [trimesh.convex.convex_hull(piece) for piece in cup.pieces])
    (record,) = load_objects(folder, cache=tmp_path / "cache")
    points = np.random.default_rng(0).uniform(-0.06, 0.06, size=(500, 3))
    ours, read = ConvexSdf(cup.pieces).distance(points), ConvexSdf(record.pieces).distance(points)
    np.testing.assert_allclose(ours, read, atol=1e-6)


def test_bad_meshes_are_refused_in_one_sentence(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(FileNotFoundError, match="Expected a mesh or a folder of meshes at"):
        load_objects(tmp_path / "nothing", cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="found none"):
        load_objects(tmp_path / "empty", cache)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"Expected a mesh of type \.obj, \.stl, \.ply"):
        load_objects(tmp_path / "notes.txt", cache)
    with pytest.raises(ValueError, match="looks like millimetres"):
        load_objects(write_box(tmp_path / "large.stl", (40, 50, 60)), cache)
    with pytest.raises(ValueError, match="Expected a solid with a volume"):
        load_objects(write_box(tmp_path / "thin.stl", (0.04, 0.05, 1e-7)), cache)
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(ValueError, match="empty mesh"):
        load_objects(tmp_path / "points.obj", cache)
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match="Expected finite vertices"):
        load_objects(tmp_path / "nan.obj", cache)
    (tmp_path / "open.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match="Expected a watertight mesh"):
        load_objects(tmp_path / "open.obj", cache)


def test_two_meshes_of_one_name_are_refused(tmp_path: Path) -> None:
    write_box(tmp_path / "a.stl", (0.04, 0.05, 0.06))
    write_box(tmp_path / "a.ply", (0.04, 0.05, 0.06))
    with pytest.raises(ValueError, match="Expected one mesh per name"):
        load_objects(tmp_path, tmp_path / "cache")


def test_bad_pieces_are_refused(tmp_path: Path) -> None:
    boxes, union = l_shape()
    folder = tmp_path / "ell"
    folder.mkdir()
    union.export(folder / "visual.obj")
    write_with_groups(folder / "collision.obj", [union])
    with pytest.raises(ValueError, match=r"group 'piece_0' fills \d+% of its hull"):
        load_objects(folder)
    write_with_groups(folder / "collision.obj", [mesh.copy().apply_scale(1000) for mesh in boxes])
    with pytest.raises(ValueError, match="their bounds differ"):
        load_objects(folder)
    (folder / "collision.obj").write_text("o none\nv 0 0 0\n")
    with pytest.raises(ValueError, match="got no faces"):
        load_objects(folder)
    (folder / "collision.obj").write_text("o flat\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nf 1 2 3\nf 2 3 4\n")
    with pytest.raises(ValueError, match="got a flat one"):
        load_objects(folder)


def test_ycb_objects_load() -> None:
    if not YCB.is_dir():
        pytest.skip(f"{YCB.name} meshes absent")
    records = load_objects(YCB)
    assert [record.name for record in records] == sorted(folder.name for folder in YCB.iterdir())
    for record in records:
        assert record.family == "ycb"
        points, _ = sample_surface(record, 500, np.random.default_rng(0))
        # Their collision hulls are coarse: centimetre-deep hollows are filled.
        distance = ConvexSdf(record.pieces).distance(points)
        assert np.abs(np.median(distance)) < 2e-3 and np.abs(distance).max() < 0.016, record.name
