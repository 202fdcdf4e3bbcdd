"""COLLADA files as robots' descriptions name them: the same triangles as in other formats, placed by their scene."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from sceneleapultra.utils.geometry.mesh_files import read_mesh

BOX = trimesh.creation.box((0.02, 0.03, 0.05))
_SOURCE = '<source id="{id}"><float_array count="{n}">{values}</float_array><technique_common>'
_SOURCE += '<accessor source="#a" count="{count}" stride="3"/></technique_common></source>'
_INPUTS = (
    '<input semantic="NORMAL" source="#normals" offset="0"/><input semantic="VERTEX" source="#v" offset="1"/>'
)


def text(values: np.ndarray) -> str:
    return " ".join(map(str, np.asarray(values).ravel().tolist()))


def collada(faces: str, *, node: str = "", unit: str = "", scene: bool = True, more: str = "") -> str:
    """Return the corners of a box, with faces and a node that are given as text."""
    sources = "".join(
        _SOURCE.format(id=name, n=values.size, values=text(values), count=len(values))
        for name, values in (("positions", BOX.vertices), ("normals", np.eye(3)))
    )
    vertices = '<vertices id="v"><input semantic="POSITION" source="#positions"/></vertices>'
    placed = f'<node>{node}<node><instance_geometry url="#g"/></node>{more}</node>'
    scenes = f'<library_visual_scenes><visual_scene id="s">{placed}</visual_scene></library_visual_scenes>'
    return (
        '<?xml version="1.0"?><COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">'
        f"<asset>{unit}<up_axis>Y_UP</up_axis></asset><library_geometries>"
        f'<geometry id="g"><mesh>{sources}{vertices}{faces}</mesh></geometry></library_geometries>'
        + (f'{scenes}<scene><instance_visual_scene url="#s"/></scene>' if scene else "")
        + "</COLLADA>"
    )


def corners(faces: np.ndarray) -> np.ndarray:
    """Number normals and vertices in turn, as the inputs have them."""
    return np.stack([np.zeros_like(faces), faces], axis=-1)


TRIANGLES = f'<triangles count="12">{_INPUTS}<p>{text(corners(BOX.faces))}</p></triangles>'


@pytest.mark.parametrize(
    "faces",
    [
        TRIANGLES,
        f"<polylist>{_INPUTS}<vcount>{text(np.full(12, 3))}</vcount><p>{text(corners(BOX.faces))}</p></polylist>",
        "<polygons>"
        + _INPUTS
        + "".join(f"<p>{text(corners(face))}</p>" for face in BOX.faces)
        + "</polygons>",
    ],
)
@pytest.mark.parametrize("scene", [True, False])
def test_triangles_are_those_of_the_file(tmp_path: Path, faces: str, scene: bool) -> None:
    (tmp_path / "box.dae").write_text(collada(faces, scene=scene))
    mesh = read_mesh(tmp_path / "box.dae")
    np.testing.assert_allclose(mesh.triangles, BOX.triangles, atol=1e-12)


def test_faces_of_many_corners_are_fans(tmp_path: Path) -> None:
    p = text(corners(np.array([0, 1, 3, 2, 4, 5, 6])))
    (tmp_path / "f.dae").write_text(collada(f"<polylist>{_INPUTS}<vcount>4 3</vcount><p>{p}</p></polylist>"))
    np.testing.assert_array_equal(read_mesh(tmp_path / "f.dae").faces, [[0, 1, 3], [0, 3, 2], [4, 5, 6]])


def test_nodes_are_placed_in_order_and_units_are_metres(tmp_path: Path) -> None:
    node = "<translate>10 0 0</translate><rotate>0 0 1 90</rotate><scale>2 1 1</scale>"
    (tmp_path / "f.dae").write_text(collada(TRIANGLES, node=node, unit='<unit name="cm" meter="0.01"/>'))
    x, y, z = BOX.vertices.T
    # scaled, then turned by a quarter about z, then moved; a hundredth of it in metres
    expected = 0.01 * np.stack([10 - y, 2 * x, z], axis=1)
    np.testing.assert_allclose(read_mesh(tmp_path / "f.dae").vertices, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</COLLADA>", "", "is not valid XML"),
        ("<triangles", "<tristrips", "<tristrips> is not read; expected triangles"),
        ('source="#positions"', 'source="#nowhere"', "names 'nowhere', which it does not hold"),
        ('url="#g"', 'url="#other"', "other"),
        (
            "<node><instance_geometry",
            '<node><instance_node url="#n"/><instance_geometry',
            "<instance_node> is not",
        ),
        ("</technique_common>", "", "is not valid XML"),
        ("<p>0", "<p>zero", "could not convert"),
        ("<p>0 ", "<p>", "cannot reshape"),
        ('<instance_geometry url="#g"/>', "", "no geometry in its scene"),
    ],
)
def test_what_is_no_collada_is_a_sentence(tmp_path: Path, old: str, new: str, message: str) -> None:
    written = collada(TRIANGLES)
    assert old in written
    written = written.replace(old, new).replace(
        "</triangles>", "</tristrips>" if "strips" in new else "</triangles>"
    )
    (tmp_path / "f.dae").write_text(written)
    with pytest.raises(ValueError, match=message) as refused:
        read_mesh(tmp_path / "f.dae")
    assert "f.dae, but it is a file of XML of" in str(refused.value)


def test_nodes_end(tmp_path: Path) -> None:
    deep = "<node>" * 100 + "</node>" * 100
    (tmp_path / "f.dae").write_text(collada(TRIANGLES, more=deep))
    with pytest.raises(ValueError, match="more than 64 nodes"):
        read_mesh(tmp_path / "f.dae")
