"""How a surface that is not closed becomes a solid: cracks joined, folds cut out, holes filled, sheets thickened.

What was changed is measured and said. A surface that would become another shape is refused.
"""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sceneleapultra.simulation.objects.surfaces import is_closed

# Vertices at the edges of cracks are one if they are nearer than this share of the object's extent.
_CRACK = 1e-4
# Holes of more than three edges that take more than this share of the area are the rim of a sheet, not of a solid.
_MAX_HOLES = 0.08
_SHEET_M = 0.002  # thickness that a sheet gets
_ROUNDS = 10
# Open parts with less than this share of the area are dirt.
_DIRT = 0.01
_MAX_MOVED = 0.05  # of the extent, for surface that was there before
_SAMPLES = 2000
_NO_VOLUME_M3 = 1e-12

Edges = Int[np.ndarray, "e 2"]


class Mended(NamedTuple):
    """A closed surface, and what was done to get it."""

    mesh: trimesh.Trimesh
    note: str


def mend(mesh: trimesh.Trimesh, file: Path) -> Mended:
    """Close a surface.

    Args:
        mesh: with every vertex once, no face without area.
        file: it comes from, for messages.

    Raises:
        ValueError: it cannot be closed without becoming another shape.
    """
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    sound = _without_folds(_join_cracks(mesh, _CRACK * extent))
    holes = _loops(_boundary(sound))
    widest = max((float(np.ptp(sound.vertices[hole], axis=0).max()) for hole in holes), default=0.0)
    open_area = _fill(sound, [hole for hole in holes if len(hole) > 3]).area - sound.area
    sheet = open_area > _MAX_HOLES * sound.area
    closed = _with_volume(_thicken(sound) if sheet else _fill(sound, holes))
    if not len(closed.faces) or not is_closed(closed):
        raise ValueError(f"{file} cannot be repaired: its faces do not bound a solid. {_ADVICE}")
    if closed.volume < 0:
        closed.invert()
    moved = _moved(mesh, closed)
    if moved > _MAX_MOVED * extent:
        raise ValueError(
            f"{file} cannot be repaired: its surface would move by {1000 * moved:.1f} mm at an extent of "
            f"{1000 * extent:.0f} mm. {_ADVICE}"
        )
    if sheet:
        done = f"taken as a sheet {1000 * _SHEET_M:g} mm thick, volume {1e6 * closed.volume:.1f} cm3"
    else:
        change = 100 * (closed.volume / max(abs(_volume(mesh)), 1e-12) - 1)
        done = f"filled {len(holes)} hole(s), the widest {1000 * widest:.1f} mm, volume {change:+.2f} %"
    cut = len(mesh.faces) - len(sound.faces)
    return Mended(closed, f"cut out {cut} faces, {done}, surface moved by at most {1000 * moved:.2f} mm")


_ADVICE = "Mend it by hand, or give convex pieces beside it."


def _join_cracks(mesh: trimesh.Trimesh, distance: float) -> trimesh.Trimesh:
    """Join vertices at open edges that lie nearer to one another than a distance."""
    open_vertices = np.unique(_boundary(mesh))
    target = np.arange(len(mesh.vertices))
    if len(open_vertices):
        pairs = cKDTree(mesh.vertices[open_vertices]).query_pairs(distance, output_type="ndarray")
        n = len(open_vertices)
        near = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        _, group = connected_components(near, directed=False)
        first = np.full(group.max() + 1, n)
        np.minimum.at(first, group, np.arange(n))
        target[open_vertices] = open_vertices[first[group]]
    faces = target[mesh.faces]
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return trimesh.Trimesh(mesh.vertices, faces[whole], process=False)


def _without_folds(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Cut out faces until no edge has more than two, first flaps that hang on one edge; then dirt; wind all alike."""
    faces = np.asarray(mesh.faces)
    for _ in range(_ROUNDS):
        number = _faces_of_edge(faces)
        crowded, bare = (number > 2).any(axis=1), (number == 1).any(axis=1)
        if not crowded.any():
            break
        faces = faces[~(crowded & bare if (crowded & bare).any() else crowded)]
    mesh = trimesh.Trimesh(mesh.vertices, faces, process=False)
    parts = mesh.split(only_watertight=False, repair=False)
    area = sum(part.area for part in parts)
    kept = [part for part in parts if part.is_watertight or part.area > _DIRT * area]
    if not kept:
        return mesh
    clean = trimesh.util.concatenate(kept)
    assert isinstance(clean, trimesh.Trimesh)
    clean.merge_vertices()
    trimesh.repair.fix_winding(clean)
    return clean


def _faces_of_edge(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "f 3"]:
    """Return how many faces each edge of each face has."""
    edges = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1), axis=-1).reshape(-1, 2)
    _, which, count = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    return count[which.ravel()].reshape(-1, 3)


def _boundary(mesh: trimesh.Trimesh) -> Edges:
    """Return the directed edges that have one face."""
    return np.asarray(mesh.edges[trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1)])


def _loops(boundary: Edges) -> list[list[int]]:
    """Return the simple loops of directed edges; edges that are on none are left out."""
    after: dict[int, list[int]] = defaultdict(list)
    for a, b in boundary.tolist():
        after[a].append(b)
    loops = []
    for start in list(after):
        walk, place = [start], {start: 0}
        while after[walk[-1]]:
            vertex = after[walk[-1]].pop()
            if vertex not in place:
                place[vertex] = len(walk)
                walk.append(vertex)
                continue
            loop = walk[place[vertex] :]
            loops.append(loop)
            for passed in loop[1:]:
                del place[passed]
            walk = walk[: place[vertex] + 1]
    return loops


def _fill(mesh: trimesh.Trimesh, holes: list[list[int]]) -> trimesh.Trimesh:
    """Close each hole by a triangle, or by a fan around its middle."""
    vertices, faces = list(mesh.vertices), [np.asarray(mesh.faces)]
    for hole in holes:
        back = np.array(hole[::-1])
        if len(hole) == 3:
            faces.append(back[None])
            continue
        middle = np.full(len(back), len(vertices))
        vertices.append(np.mean(mesh.vertices[hole], axis=0))
        faces.append(np.stack([back, np.roll(back, -1), middle], axis=1))
    return trimesh.Trimesh(np.array(vertices), np.concatenate(faces), process=False)


def _thicken(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Make a solid of a sheet: both its sides, half a thickness away, joined along the rim."""
    offset = 0.5 * _SHEET_M * np.asarray(mesh.vertex_normals)
    n, faces, rim = len(mesh.vertices), np.asarray(mesh.faces), _boundary(mesh)
    a, b = rim[:, 0], rim[:, 1]
    sides = [np.stack([b, a, a + n], axis=1), np.stack([b, a + n, b + n], axis=1)]
    vertices = np.concatenate([mesh.vertices + offset, mesh.vertices - offset])
    return trimesh.Trimesh(vertices, np.concatenate([faces, faces[:, ::-1] + n, *sides]), process=False)


def _with_volume(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Leave out parts that enclose nothing: leaves whose only hole was filled by their other side."""
    labels = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    faces = np.asarray(mesh.triangles)
    volumes = np.einsum("fi,fi->f", faces[:, 0], np.cross(faces[:, 1], faces[:, 2])) / 6
    solid = np.abs(np.bincount(labels, volumes)) > _NO_VOLUME_M3
    kept = trimesh.Trimesh(mesh.vertices, mesh.faces[solid[labels]], process=False)
    kept.remove_unreferenced_vertices()
    return kept


def _moved(before: trimesh.Trimesh, after: trimesh.Trimesh) -> float:
    """Return the greatest distance of points of a surface, and of its corners that are gone, to what became of it."""
    gone, _ = cKDTree(after.vertices).query(before.vertices)
    corners = np.asarray(before.vertices)[np.argsort(-gone)[:_SAMPLES]]
    points = np.concatenate([trimesh.sample.sample_surface(before, _SAMPLES, seed=0)[0], corners])
    return float(trimesh.proximity.closest_point(after, points)[1].max())


def _volume(mesh: trimesh.Trimesh) -> float:
    """Return the volume of a surface with holes, as if each was closed towards the middle."""
    triangles = np.asarray(mesh.triangles) - mesh.vertices.mean(axis=0)
    return float(np.einsum("fi,fi->", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6)
