"""Triangles of a COLLADA file (.dae), as robots' descriptions name them: geometry where its scene places it, in metres.

Materials, skins and animations are left out. Which axis is up is left out, too: what shows and collides with robots'
meshes takes their axes as they stand. Specification: COLLADA 1.4.1 (Khronos 2008).
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int

from sceneleapultra.utils.core.plain_data import read_xml

_MAX_DEPTH = 64  # of nodes in one another
_FANS = ("triangles", "polylist", "polygons")  # faces as corners in order
_LEFT_OUT = ("lines", "linestrips")

Points = Float[np.ndarray, "n 3"]
Faces = Int[np.ndarray, "f 3"]


def read_collada(file: Path) -> trimesh.Trimesh:
    """Read all triangles of a file's scene; of all its geometries, if it has none.

    Raises:
        ValueError: damaged, or with parts that this does not read; they are named.
    """
    root = read_xml(file)
    geometries = {e.attrib["id"]: _geometry(e) for e in root.iterfind("library_geometries/geometry/[mesh]")}
    scene = root.find("scene/instance_visual_scene")
    if scene is None:
        placed = [(np.eye(4), name) for name in geometries]
    else:
        placed = list(_nodes(_named(root, "library_visual_scenes/visual_scene", scene), np.eye(4), 0))
    unit = root.find("asset/unit")
    metres = 1.0 if unit is None else float(unit.get("meter", 1.0))
    parts = [
        trimesh.Trimesh(metres * trimesh.transform_points(points, T), faces, process=False)
        for T, name in placed
        for points, faces in geometries[name]
    ]
    if not parts:
        raise ValueError("no geometry in its scene")
    mesh = trimesh.util.concatenate(parts)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def _geometry(geometry: ET.Element) -> list[tuple[Points, Faces]]:
    """Return vertices and triangles of each kind of primitive in a geometry."""
    (mesh,) = geometry.findall("mesh")
    found = []
    for primitive in mesh:
        if primitive.tag in _FANS:
            found.append((_positions(mesh, primitive), _triangles(primitive)))
        elif primitive.find("p") is not None and primitive.tag not in _LEFT_OUT:
            raise ValueError(f"<{primitive.tag}> is not read; expected {', '.join(_FANS)}")
    return found


def _input(element: ET.Element, semantic: str) -> ET.Element:
    for entry in element.findall("input"):
        if entry.get("semantic") == semantic:
            return entry
    raise ValueError(f"<{element.tag}> has no {semantic}")


def _named(root: ET.Element, path: str, reference: ET.Element, key: str = "url") -> ET.Element:
    wanted = reference.attrib[key].removeprefix("#")
    for element in root.iterfind(path):
        if element.get("id") == wanted:
            return element
    raise ValueError(f"it names '{wanted[:80]}', which it does not hold")


def _positions(mesh: ET.Element, primitive: ET.Element) -> Points:
    vertices = _named(mesh, "vertices", _input(primitive, "VERTEX"), "source")
    source = _named(mesh, "source", _input(vertices, "POSITION"), "source")
    array, accessor = source.find("float_array"), source.find("technique_common/accessor")
    if array is None or accessor is None:
        raise ValueError("a <source> of positions without numbers")
    values = _numbers(array)[int(accessor.get("offset", 0)) :]
    stride = int(accessor.get("stride", 1))
    count = min(int(accessor.attrib["count"]), len(values) // stride)
    return values[: count * stride].reshape(count, stride)[:, :3]


def _triangles(primitive: ET.Element) -> Faces:
    """Return faces as triangles; those with more corners as fans."""
    inputs = primitive.findall("input")
    width = 1 + max(int(entry.attrib["offset"]) for entry in inputs)
    offset = int(_input(primitive, "VERTEX").attrib["offset"])
    rows = [_numbers(p).astype(np.int64).reshape(-1, width)[:, offset] for p in primitive.findall("p")]
    corners = np.concatenate([np.zeros(0, np.int64), *rows])
    if primitive.tag == "triangles":
        return corners.reshape(-1, 3)
    counts = primitive.find("vcount")
    sizes = np.array([len(row) for row in rows]) if counts is None else _numbers(counts).astype(np.int64)
    if (sizes < 3).any() or sizes.sum() != len(corners):
        raise ValueError(f"<{primitive.tag}> has other corners than it counts")
    first: Int[np.ndarray, "f"] = np.repeat(np.cumsum(sizes) - sizes, sizes - 2)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(sizes - 2) - (sizes - 2), sizes - 2)
    return np.stack([corners[first], corners[first + nth + 1], corners[first + nth + 2]], axis=1)


def _nodes(
    node: ET.Element, T: Float[np.ndarray, "4 4"], depth: int
) -> Iterator[tuple[Float[np.ndarray, "4 4"], str]]:
    """Yield each geometry below a node, and where it is."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"more than {_MAX_DEPTH} nodes in one another")
    for child in node:
        if child.tag == "node":
            yield from _nodes(child, T, depth + 1)
        elif child.tag == "instance_geometry":
            yield T, child.attrib["url"].removeprefix("#")
        elif child.tag == "instance_node":
            raise ValueError("<instance_node> is not read; write the node where it stands")
        else:
            T = T @ _transform(child)


def _transform(element: ET.Element) -> Float[np.ndarray, "4 4"]:
    T = np.eye(4)
    match element.tag:
        case "matrix":
            return _numbers(element).reshape(4, 4)
        case "translate":
            T[:3, 3] = _numbers(element)
        case "scale":
            T[:3, :3] = np.diag(_numbers(element))
        case "rotate":
            *axis, degrees = _numbers(element)
            return np.asarray(trimesh.transformations.rotation_matrix(np.radians(degrees), axis))
        case "lookat" | "skew":
            raise ValueError(f"<{element.tag}> is not read; expected matrix, translate, rotate or scale")
    return T


def _numbers(element: ET.Element) -> Float[np.ndarray, "n"]:
    return np.array((element.text or "").split(), dtype=np.float64)
