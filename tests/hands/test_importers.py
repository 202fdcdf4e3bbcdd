"""Foreign hands as people have them: what is odd is read right or refused in a sentence, never simulated wrongly."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import trimesh

from sceneleapultra.hands import load_hand
from sceneleapultra.hands.hand import Hand

INERTIAL = """<inertial><mass value="0.1"/>
  <inertia ixx="1e-5" iyy="1e-5" izz="1e-5" ixy="0" ixz="0" iyz="0"/></inertial>"""
BOX = '<box size="0.02 0.02 0.06"/>'
LIMIT = '<limit lower="0" upper="1.57" effort="1" velocity="1"/>'


def write_hand(
    path: Path, shape: str = BOX, *, limit: str = LIMIT, inertial: str = INERTIAL, extra: str = ""
) -> Path:
    """Write a palm with two fingers; the first has the given collision shape."""
    links = [f'<link name="palm">{INERTIAL}<collision><geometry>{BOX}</geometry></collision></link>']
    for k, geometry in enumerate((shape, BOX)):
        links.append(
            f'<link name="f{k}">{inertial}<collision><origin xyz="0 0 0.03"/><geometry>{geometry}</geometry>'
            f'</collision></link><joint name="j{k}" type="revolute"><parent link="palm"/><child link="f{k}"/>'
            f'<origin xyz="0 {0.06 * k - 0.03} 0.05"/><axis xyz="0 1 0"/>{limit}{extra}</joint>'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0"?><robot name="two fingers">{"".join(links)}</robot>')
    return path


def write_mesh(path: Path, mesh: trimesh.Trimesh | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (mesh or trimesh.creation.box((0.02, 0.02, 0.06))).export(path)
    return path


def hulls(hand: Hand, body: str) -> list[np.ndarray]:
    found = next(b for b in hand.description.bodies if b.name == body)
    return [np.asarray(p.vertices) for p in found.primitives]


def test_a_stray_triangle_is_left_out_and_counted(tmp_path, caplog):
    box = trimesh.creation.box((0.02, 0.02, 0.06))
    stray = trimesh.Trimesh([[0, 0, 0.1], [0.01, 0, 0.1], [0, 0.01, 0.1]], [[0, 1, 2]])
    write_mesh(tmp_path / "f.stl", trimesh.util.concatenate([box, stray]))
    hand = load_hand(write_hand(tmp_path / "h.urdf", '<mesh filename="f.stl"/>'))
    (hull,) = hulls(hand, "f0")
    np.testing.assert_allclose(np.ptp(hull, axis=0), [0.02, 0.02, 0.06], atol=1e-7)
    assert "link 'f0': left out 1 flat of 2 parts" in caplog.text


def test_a_mesh_with_seams_is_one_part(tmp_path):
    # Every face with normals of its own, as exporters of shaded meshes write them.
    lines = []
    box = trimesh.creation.box((0.02, 0.02, 0.06))
    for k, (corners, normal) in enumerate(zip(box.triangles, box.face_normals, strict=True)):
        lines += [f"v {x} {y} {z}" for x, y, z in corners] + ["vn {} {} {}".format(*normal)]
        lines.append(f"f {3 * k + 1}//{k + 1} {3 * k + 2}//{k + 1} {3 * k + 3}//{k + 1}")
    (tmp_path / "f.obj").write_text("\n".join(lines))
    (hull,) = hulls(load_hand(write_hand(tmp_path / "h.urdf", '<mesh filename="f.obj"/>')), "f0")
    assert hull.shape == (8, 3)


def test_convex_parts_that_touch_stay_apart(tmp_path):
    low, high = (trimesh.creation.box((0.02, 0.02, 0.03)) for _ in range(2))
    high.apply_translation([0.01, 0, 0.03])
    lines, first = [], 1
    for k, part in enumerate((low, high)):
        lines += [f"o part_{k}", *(f"v {x} {y} {z}" for x, y, z in part.vertices)]
        lines += [f"f {a + first} {b + first} {c + first}" for a, b, c in part.faces]
        first += len(part.vertices)
    (tmp_path / "f.obj").write_text("\n".join(lines))
    assert len(hulls(load_hand(write_hand(tmp_path / "h.urdf", '<mesh filename="f.obj"/>')), "f0")) == 2


def test_no_corner_of_a_tetrahedron_is_lost(tmp_path):
    # A needle: none of the evenly spread directions is near the ones in which its corners differ.
    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 1e-3, 0], [0.1, 0, 1e-3]])
    write_mesh(tmp_path / "f.stl", trimesh.convex.convex_hull(corners))
    (hull,) = hulls(load_hand(write_hand(tmp_path / "h.urdf", '<mesh filename="f.stl"/>')), "f0")
    assert trimesh.convex.convex_hull(hull).volume == pytest.approx(1e-3 * 1e-3 * 0.1 / 6, rel=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (trimesh.Trimesh([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], [[0, 1, 2]]), "none of its 1 part.* flat"),
        (
            trimesh.creation.box((20, 20, 60)),
            r"spans 60 m: looks like millimetres \(times 0.001 it spans 0.06",
        ),
        (
            trimesh.creation.box((2, 2, 6)),
            r"spans 6 m: looks like centimetres \(times 0.01 it spans 0.06 m\)",
        ),
        (trimesh.creation.box((2e-5, 2e-5, 6e-5)), "spans 6.0e-05 m, less than a millimetre"),
        (b"", "f.stl, .* empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "f.stl, .* a git-lfs pointer",
        ),
        (b"\x00" * 80 + b"\xff\xff\xff\xff" + b"\x00" * 50, "f.stl"),
        (b"solid x\nfacet normal a b c\n", "f.stl"),
    ],
)
def test_a_mesh_that_is_no_link_is_a_sentence(tmp_path, content, message):
    file = tmp_path / "f.stl"
    file.write_bytes(content) if isinstance(content, bytes) else write_mesh(file, content)
    with pytest.raises(ValueError, match=message):
        load_hand(write_hand(tmp_path / "h.urdf", '<mesh filename="f.stl"/>'))


def test_a_mesh_of_a_type_that_is_not_read_is_a_sentence(tmp_path):
    (tmp_path / "f.step").write_text("ISO-10303-21;")
    with pytest.raises(ValueError, match=r"Expected a mesh of type \.obj.*f\.step\. Convert it to \.obj"):
        load_hand(write_hand(tmp_path / "h.urdf", '<mesh filename="f.step"/>'))


def test_shapes_in_millimetres_are_refused_before_they_fill_the_memory(tmp_path):
    with pytest.raises(ValueError, match=r"a box of 'f0' spans 60 m: looks like millimetres"):
        load_hand(write_hand(tmp_path / "h.urdf", '<box size="20 20 60"/>'))


@pytest.mark.parametrize(
    "filename",
    ["package://my_hand/meshes/f.stl", "model://my_hand/meshes/f.stl", "../meshes/f.stl"],
)
def test_files_are_found_from_any_working_folder(tmp_path, monkeypatch, filename):
    write_mesh(tmp_path / "my_hand" / "meshes" / "f.stl")
    urdf = write_hand(tmp_path / "my_hand" / "urdf" / "h.urdf", f'<mesh filename="{filename}"/>')
    from_here = load_hand(urdf)
    monkeypatch.chdir(urdf.parent)
    (tmp_path / "my_hand" / "urdf" / "my_hand" / "meshes").mkdir(
        parents=True
    )  # what a reader of paths would try
    assert load_hand("h.urdf").table_hash == from_here.table_hash


def test_a_package_is_known_by_its_package_xml(tmp_path):
    root = tmp_path / "my_hand-main"
    write_mesh(root / "assets" / "f.stl")
    (root / "package.xml").write_text("<package><name>my_hand</name></package>")
    urdf = write_hand(
        root / "v1" / "models" / "urdf" / "h.urdf", '<mesh filename="package://my_hand/assets/f.stl"/>'
    )
    assert len(hulls(load_hand(urdf), "f0")) == 1
    write_hand(urdf, '<mesh filename="package://other/assets/f.stl"/>')
    with pytest.raises(FileNotFoundError, match="'other' is no folder beside it or above it"):
        load_hand(urdf)


def test_a_package_may_be_a_folder_beside_the_file(tmp_path):
    write_mesh(tmp_path / "meshes" / "f.stl")
    urdf = write_hand(tmp_path / "h.urdf", '<mesh filename="package://meshes/f.stl"/>')
    assert len(hulls(load_hand(urdf), "f0")) == 1


@pytest.mark.parametrize(
    "filename",
    [
        "../secret.stl",
        "{outside}",
        "file://{outside}",
        "package://hand/../secret.stl",
        "package://../../secret.stl",
        "package://../secret.stl",
        "package://./../secret.stl",
        "package://folder/secret.stl",
        "link.stl",
        "folder/secret.stl",
        "/etc/passwd",
    ],
)
def test_nothing_outside_of_the_hands_folder_is_read(tmp_path, filename):
    outside = write_mesh(tmp_path / "secret.stl")
    folder = tmp_path / "hand"
    folder.mkdir()
    (folder / "link.stl").symlink_to(outside)
    (folder / "folder").symlink_to(tmp_path)
    urdf = write_hand(folder / "h.urdf", f'<mesh filename="{filename.format(outside=outside)}"/>')
    with pytest.raises((ValueError, FileNotFoundError), match=r"outside of|no folder beside it"):
        load_hand(urdf)


def test_a_link_without_inertia_weighs_what_its_shapes_weigh(tmp_path, caplog):
    hand = load_hand(write_hand(tmp_path / "h.urdf", inertial=""))
    model = mujoco.MjModel.from_xml_string(hand.to_mjcf())
    # 0.02 x 0.02 x 0.06 m3 at 1,000 kg/m3, MuJoCo's density
    np.testing.assert_allclose([model.body(f"f{k}").mass[0] for k in range(2)], 0.024, rtol=1e-6)
    assert model.body("palm").mass[0] == pytest.approx(0.1)
    assert "links 'f0', 'f1': no mass and inertia given" in caplog.text


@pytest.mark.parametrize(
    "incomplete", ['<inertial><mass value="0.1"/></inertial>', INERTIAL.replace('<mass value="0.1"/>', "")]
)
def test_half_an_inertia_is_none(tmp_path, caplog, incomplete):
    hand = load_hand(write_hand(tmp_path / "h.urdf", inertial=incomplete))
    model = mujoco.MjModel.from_xml_string(hand.to_mjcf())
    np.testing.assert_allclose(model.body("f0").mass[0], 0.024, rtol=1e-6)
    assert "links 'f0', 'f1': no mass and inertia given" in caplog.text


def test_what_other_programs_add_to_a_urdf_is_left_alone(tmp_path):
    urdf = write_hand(tmp_path / "h.urdf")
    plain, text = load_hand(urdf).table_hash, urdf.read_text()
    added = '<drake:collision_filter_group name="g"><drake:member link="f0"/></drake:collision_filter_group>'
    urdf.write_text(text.replace("</robot>", f"{added}<transmission/></robot>"))
    assert load_hand(urdf).table_hash == plain
    urdf.write_text(text.replace("</robot>", '<xacro:include filename="f.xacro"/></robot>'))
    with pytest.raises(
        ValueError,
        match=r"<xacro:include> is a macro\. The program xacro writes .*: xacro h\.urdf > h_hand\.urdf$",
    ):
        load_hand(urdf)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ('<limit effort="1" velocity="1"/>', r"joints 'j0', 'j1' cannot move.*0 and 0.*in radians"),
        ("", "joints 'j0', 'j1' cannot move"),
        ('<limit lower="1" upper="1" effort="1" velocity="1"/>', "cannot move"),
        (
            '<limit lower="0" upper="90" effort="1" velocity="1"/>',
            "0 to 90 rad: looks like degrees, 2 joints",
        ),
        (
            '<limit lower="0" upper="ninety" effort="1" velocity="1"/>',
            r"expected 1 number.* upper=\"ninety\"",
        ),
    ],
)
def test_limits_that_mean_something_else_are_refused(tmp_path, limit, message):
    with pytest.raises(ValueError, match=message):
        load_hand(write_hand(tmp_path / "h.urdf", limit=limit))


def test_a_limit_with_one_end_has_zero_for_the_other(tmp_path):
    hand = load_hand(write_hand(tmp_path / "h.urdf", limit='<limit upper="1.2" effort="1" velocity="1"/>'))
    assert hand.joint_limits.tolist() == [[0.0, pytest.approx(1.2)]] * 2


def test_all_joints_that_cannot_follow_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"joints 'j0', 'j1' cannot follow: .* or follows it"):
        load_hand(write_hand(tmp_path / "h.urdf", extra='<mimic joint="j0"/>'))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("<box/>", r'<box> has no size="…"'),
        ('<box size="0.1"/>', "expected 3 number"),
        ('<sphere radius="nan"/>', "expected 1 number"),
        ("<mesh/>", r'<mesh> has no filename="…"'),
        ("<cone/>", "unknown collision shape <cone>"),
    ],
)
def test_shapes_that_are_not_complete_are_sentences(tmp_path, shape, message):
    with pytest.raises(ValueError, match=message):
        load_hand(write_hand(tmp_path / "h.urdf", shape))
