"""Meshes as scanners and exporters leave them: what is no surface is dropped, what is open is mended or refused."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from sceneleapultra.simulation.objects.layouts import find_sources
from sceneleapultra.simulation.objects.meshes import read_checked
from sceneleapultra.simulation.objects.repair import mend
from sceneleapultra.simulation.objects.surfaces import clean_surface, is_closed


def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=3, radius=0.04)


def load(folder: Path, mesh: trimesh.Trimesh, repair: bool = False) -> trimesh.Trimesh:
    """Send a mesh through a file; return its surface."""
    mesh.export(folder / "thing.ply")
    (source,) = find_sources(folder / "thing.ply")
    read = read_checked(source, 1.0, repair=repair)
    surface = trimesh.Trimesh(read.vertices, read.faces, process=False)
    surface.metadata["note"] = read.note
    return surface


def with_faces(mesh: trimesh.Trimesh, *faces: list[int]) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, np.vstack([mesh.faces, faces]), process=False)


@pytest.mark.parametrize("kind", ["one vertex twice", "doubled", "turned", "no area", "all twice"])
def test_faces_that_are_no_surface_are_dropped_and_counted(tmp_path, caplog, kind):
    caplog.set_level("INFO")
    box = trimesh.creation.box((0.03, 0.04, 0.05))
    a, b, c = box.faces[0].tolist()
    middle = (box.vertices[a] + box.vertices[b]) / 2
    longer = trimesh.Trimesh(np.vstack([box.vertices, middle]), box.faces, process=False)
    made, count = {
        "one vertex twice": (with_faces(box, [a, a, b]), 1),
        "doubled": (with_faces(box, [a, b, c]), 1),
        "turned": (with_faces(box, [c, b, a]), 1),
        "no area": (with_faces(longer, [a, len(box.vertices), b]), 1),
        "all twice": (with_faces(box, *box.faces[:, ::-1].tolist()), 12),
    }[kind]
    read = load(tmp_path, made)
    assert is_closed(read) and read.volume == pytest.approx(box.volume, rel=1e-6)
    assert f"dropped {count} faces without area or twice there" in caplog.text


def test_a_closed_surface_is_left_as_it_is():
    # A face without area between two others, without which there would be a hole.
    corners = [[0, 0, 0], [1, 0, 0], [0.5, 0, 0], [0, 1, 0], [0, 0, 1]]
    faces = [[0, 1, 2], [0, 3, 1], [0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]]
    mesh = clean_surface(0.1 * np.array(corners), np.array(faces), Path("wedge"))
    assert is_closed(mesh) and len(mesh.faces) == 6


def test_a_cavity_stays(tmp_path):
    inner = trimesh.creation.icosphere(subdivisions=2, radius=0.02)
    inner.invert()
    read = load(tmp_path, trimesh.util.concatenate([ball(), inner]))
    assert read.volume == pytest.approx(ball().volume + inner.volume, rel=1e-5)


def test_bodies_that_lie_apart_are_refused_and_those_that_touch_are_not(tmp_path):
    near, far = ball(), ball()
    near.apply_translation([0.07, 0, 0])
    far.apply_translation([0.3, 0, 0])
    load(tmp_path, trimesh.util.concatenate([ball(), near]))
    with pytest.raises(ValueError, match=r"Expected one body in .*thing.ply, got 2 that lie 0\.22 m apart"):
        load(tmp_path, trimesh.util.concatenate([ball(), far]))


@pytest.mark.parametrize(
    ("factor", "unit"),
    [(100, r"centimetres \(times 0\.01"), (1000, r"millimetres \(times 0\.001"), (40, "inches")],
)
def test_the_unit_that_fits_is_named(tmp_path, factor, unit):
    with pytest.raises(ValueError, match=f"looks like.*{unit}"):
        load(tmp_path, ball().apply_scale(factor))


def damaged(kind: str) -> trimesh.Trimesh:
    mesh = ball()
    rng = np.random.default_rng(0)
    if kind == "faces missing":
        return trimesh.Trimesh(
            mesh.vertices, np.delete(mesh.faces, rng.choice(1280, 9, replace=False), axis=0)
        )
    if kind == "hole":
        return trimesh.Trimesh(mesh.vertices, mesh.faces[mesh.triangles_center[:, 2] < 0.0393])
    if kind == "flaps":
        tip = np.vstack([mesh.vertices, 1.05 * mesh.vertices[mesh.faces[7]].mean(axis=0)])
        a, b, c = mesh.faces[7].tolist()
        return trimesh.Trimesh(
            tip, np.vstack([mesh.faces, [[a, b, len(mesh.vertices)], [c, a, len(mesh.vertices)]]])
        )
    if kind == "cracks":
        corners = mesh.triangles.reshape(-1, 3) + rng.normal(size=(3 * len(mesh.faces), 3)) * 1e-7
        return trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3), process=False)
    assert kind == "turned faces"
    mesh.faces[[3, 99, 400]] = mesh.faces[[3, 99, 400], ::-1]
    return mesh


@pytest.mark.parametrize("kind", ["faces missing", "hole", "flaps", "cracks", "turned faces"])
def test_small_damage_is_mended_when_asked_for_and_said(tmp_path, kind):
    with pytest.raises(ValueError, match=r"Expected a watertight mesh .* Pass objects\.repair=true"):
        load(tmp_path, damaged(kind))
    read = load(tmp_path, damaged(kind), repair=True)
    assert is_closed(read)
    assert read.volume == pytest.approx(ball().volume, rel=0.01)
    assert np.abs(np.linalg.norm(read.vertices - read.center_mass, axis=1) - 0.04).max() < 1.6e-3
    assert "surface moved by at most" in read.metadata["note"] and "volume" in read.metadata["note"]


def test_what_is_said_of_a_repair_is_true():
    opened = damaged("hole")
    rim = opened.vertices[np.unique(opened.edges[trimesh.grouping.group_rows(opened.edges_sorted, 1)])]
    mended = mend(opened, Path("ball"))
    width = 1000 * np.ptp(rim, axis=0).max()
    # The cone from the middle to the hole, of which the surface with a hole says nothing, became part of the solid.
    cone = mended.mesh.volume - np.einsum("fi,fi->", opened.triangles[:, 0], opened.triangles_cross[:, :]) / 6
    added = 100 * cone / (mended.mesh.volume - cone)
    assert (
        f"cut out 0 faces, filled 1 hole(s), the widest {width:.1f} mm, volume {added:+.2f} %" in mended.note
    )
    assert "surface moved by at most 0.00 mm" in mended.note


def test_what_would_become_another_shape_is_refused(tmp_path):
    # A plate that shares one edge with the ball: it would be cut off.
    mesh = ball()
    a, b = mesh.edges[0].tolist()
    n = len(mesh.vertices)
    corners = np.vstack([mesh.vertices, 2.0 * mesh.vertices[[a, b]]])
    plate = trimesh.Trimesh(corners, np.vstack([mesh.faces, [[a, b, n], [b, n + 1, n]]]), process=False)
    with pytest.raises(ValueError, match=r"its surface would move by 40\.0 mm at an extent of"):
        load(tmp_path, plate, repair=True)


def test_a_sheet_gets_a_thickness(tmp_path):
    full = ball()
    bowl = trimesh.Trimesh(full.vertices, full.faces[full.triangles_center[:, 2] < 0])
    read = load(tmp_path, bowl, repair=True)
    assert is_closed(read)
    assert read.volume == pytest.approx(0.002 * bowl.area, rel=0.03)
    note = read.metadata["note"]
    assert "taken as a sheet 2 mm thick" in note and "surface moved by at most 1.0" in note


def test_what_cannot_be_mended_is_refused(tmp_path):
    mobius = []
    for k in range(24):
        angles = 2 * np.pi * np.array([k, k + 1]) / 24
        rows = [
            [
                (
                    (0.04 + s * 0.01 * np.cos(t / 2)) * np.cos(t),
                    (0.04 + s * 0.01 * np.cos(t / 2)) * np.sin(t),
                    s * 0.01 * np.sin(t / 2),
                )
                for s in (-1, 1)
            ]
            for t in angles
        ]
        (a, b), (c, d) = rows
        mobius += [[a, b, d], [a, d, c]]
    corners = np.array(mobius).reshape(-1, 3)
    strip = trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3), process=False)
    with pytest.raises(ValueError, match=r"thing.ply cannot be repaired: its faces do not bound a solid"):
        load(tmp_path, strip, repair=True)
