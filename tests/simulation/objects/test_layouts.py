"""Folders as public data sets come: one object each, whatever files lie beside its surface."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from sceneleapultra.simulation.objects import load_objects
from sceneleapultra.simulation.objects.layouts import find_sources
from sceneleapultra.utils.geometry.mesh_files import read_mesh

FILES: dict[str, dict[str, tuple[str, str, str, int]]] = {
    # files -> name, family, surface, number of pieces of each object
    "hammer/textured.obj hammer/textured_coacd_0.stl hammer/textured_coacd_1.stl": {
        "hammer": ("hammer", "root", "textured.obj", 2)
    },
    "YcbBanana/collision_vhacd.obj YcbBanana/textured_simple.obj YcbBanana/textured_simple_reoriented.obj": {
        "YcbBanana": ("YcbBanana", "root", "textured_simple.obj", 1)
    },
    "stapler/contact0.stl stapler/contact1.stl stapler/stapler.stl": {
        "stapler": ("stapler", "root", "stapler.stl", 2)
    },
    "002_can/google_16k/nontextured.ply 002_can/google_16k/nontextured.stl 002_can/google_16k/textured.obj "
    "002_can/poisson/nontextured.ply 002_can/tsdf/textured.obj 002_can/clouds/merged_cloud.ply": {
        "002_can": ("002_can", "root", "textured.obj", 0)
    },
    "Shoe/model.obj Shoe/model_collision_0.obj Shoe/model_collision_1.obj": {
        "Shoe": ("Shoe", "root", "model.obj", 2)
    },
    "mug/mug.obj mug/coacd/0.obj mug/coacd/1.obj mug/coacd/2.obj": {"mug": ("mug", "root", "mug.obj", 3)},
    "mug.obj mug_vhacd.obj cup.obj cup_convex_piece_0.obj cup_convex_piece_1.obj pan.stl": {
        "mug": ("mug", "root", "mug.obj", 1),
        "cup": ("cup", "root", "cup.obj", 2),
        "pan": ("pan", "root", "pan.stl", 0),
    },
    "b/one.obj b/two.stl contact_lens.obj": {
        "b-one": ("b-one", "b", "one.obj", 0),
        "b-two": ("b-two", "b", "two.stl", 0),
        "contact_lens": ("contact_lens", "root", "contact_lens.obj", 0),
    },
    "b/collision.obj": {"b-collision": ("b-collision", "b", "collision.obj", 0)},
}


def touch(root: Path, files: str) -> None:
    for name in files.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("files", FILES)
def test_files_are_grouped_into_objects(tmp_path, files):
    root = tmp_path / "root"
    touch(root, files)
    found = {s.name: (s.name, s.family, s.surface.name, len(s.pieces)) for s in find_sources(root)}
    assert found == FILES[files]


def test_pieces_of_nobody_are_refused(tmp_path):
    touch(tmp_path, "mug.obj cup.obj plate_vhacd.obj")
    with pytest.raises(
        ValueError, match=r"plate_vhacd.obj is named as a convex piece, .* 2 meshes beside it"
    ):
        find_sources(tmp_path)


@pytest.mark.parametrize("suffix", ["obj", "stl"])
def test_pieces_beside_a_surface_are_read(tmp_path, suffix):
    whole = trimesh.creation.box((0.04, 0.04, 0.08))
    whole.export(tmp_path / "textured.obj")
    for k, z in enumerate((-0.02, 0.02)):
        half = trimesh.creation.box((0.04, 0.04, 0.04))
        half.apply_translation([0, 0, z])
        half.export(tmp_path / f"textured_coacd_{k}.{suffix}")
    (record,) = load_objects(tmp_path, tmp_path / "cache")
    assert (record.name, len(record.pieces)) == (tmp_path.name, 2)
    assert not (tmp_path / "cache").exists()


def test_names_of_groups_may_be_in_any_encoding(tmp_path):
    box = trimesh.creation.box((0.04, 0.04, 0.08))
    box.export(tmp_path / "visual.obj")
    lines = [b"o \xb1\xad\xd7\xd3"]  # a cup, in GBK
    lines += [f"v {x} {y} {z}".encode() for x, y, z in box.vertices]
    lines += [f"f {a + 1} {b + 1} {c + 1}".encode() for a, b, c in box.faces]
    (tmp_path / "collision.obj").write_bytes(b"\n".join(lines))
    (record,) = load_objects(tmp_path)
    assert len(record.pieces) == 1
    for line, message in ((b"v 0 0 x", "line 22 .*'v 0 0 x'"), (b"f 1 2 99", "between 8 finite vertices")):
        (tmp_path / "collision.obj").write_bytes(b"\n".join([*lines, line]))
        with pytest.raises(ValueError, match=message):
            load_objects(tmp_path)


def test_one_bad_object_does_not_stop_a_folder(tmp_path, caplog):
    for k in range(10):
        trimesh.creation.box((0.04, 0.04, 0.05 + 0.001 * k)).export(tmp_path / f"box{k}.stl")
    (tmp_path / "box3.stl").write_bytes(b"\x00" * 10)
    stages: list[tuple[str, int, int]] = []
    records = load_objects(
        tmp_path, tmp_path / "cache", max_bad_fraction=0.1, progress=lambda *step: stages.append(step)
    )
    assert [r.name for r in records] == [f"box{k}" for k in range(10) if k != 3]
    assert "Left out:" in caplog.text and "box3.stl" in caplog.text
    expected = [("reading meshes", k, 10) for k in range(11)] + [("convex pieces", k, 9) for k in range(10)]
    assert stages == expected  # a bar stands there before the first one is done
    (tmp_path / "box7.stl").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"2 of 10 objects below .*max_bad_fraction=0.1 allows: .*box3.*box7"
    ):
        load_objects(tmp_path, tmp_path / "cache", max_bad_fraction=0.1)


@pytest.mark.parametrize("suffix", [".obj", ".stl", ".ply"])
def test_files_cut_off_or_changed_are_read_or_named(tmp_path, suffix):
    file = tmp_path / f"thing{suffix}"
    trimesh.creation.icosphere(subdivisions=1, radius=0.04).export(file)
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for k in range(60):
        damaged = bytearray(whole[: rng.integers(len(whole))] if k % 2 else whole)
        for place in rng.integers(max(1, len(damaged)), size=3 if damaged else 0):
            damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        try:
            read_mesh(file)
        except ValueError as error:
            refused += 1
            assert file.name in str(error)
    assert refused >= 10
