"""An object's surface: read with every vertex once, freed of faces that are no surface, checked for size and bodies."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Int

from sceneleapultra.utils.geometry.mesh_files import guess_units, read_mesh

_LOG = logging.getLogger(__name__)
_MAX_EXTENT_M = 2.0
_OBJECT_SIZES_M = (0.02, 0.3)  # of most things a hand grasps
# Bodies of one object may lie apart by this share of its extent, and by this much.
_MAX_GAP = 0.1
_MAX_GAP_M = 0.005

Faces = Int[np.ndarray, "f 3"]


def read_surface(file: Path, scale: float) -> trimesh.Trimesh:
    """Read a mesh as a surface; ``scale`` is metres per unit of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a mesh, or too large to be in metres.
    """
    mesh = read_mesh(file)
    return clean_surface(scale * np.asarray(mesh.vertices), np.asarray(mesh.faces), file)


def clean_surface(vertices: np.ndarray, faces: Faces, file: Path) -> trimesh.Trimesh:
    """Join vertices at one place; if that leaves the surface open, drop faces without area and repeated ones.

    A surface that is closed as it stands is left as it is.

    Raises:
        ValueError: too large to be in metres.
    """
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices()
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    if extent > _MAX_EXTENT_M:
        raise ValueError(
            f"Expected an object of at most {_MAX_EXTENT_M:g} m in {file}, got an extent of {extent:.4g}: "
            f"{guess_units(extent, *_OBJECT_SIZES_M)}. Scale it to metres."
        )
    if is_closed(mesh):
        return mesh
    fewer = mesh
    for keep in _keeps(mesh):
        fewer = trimesh.Trimesh(mesh.vertices, mesh.faces[keep], process=False)
        fewer.remove_unreferenced_vertices()
        if is_closed(fewer):
            break
    if dropped := len(mesh.faces) - len(fewer.faces):
        _LOG.info("%s: dropped %d faces without area or twice there", file, dropped)
    return fewer if len(fewer.faces) else mesh


def is_closed(mesh: trimesh.Trimesh) -> bool:
    """Whether a mesh bounds a solid: each edge has two faces, wound alike."""
    return bool(mesh.is_watertight and mesh.is_winding_consistent)


def check_one_body(mesh: trimesh.Trimesh, file: Path) -> None:
    """Refuse bodies that lie apart: as one rigid object they would move as if glued to the air between.

    Parts that touch, overlap or lie within one another, a cavity for example, are one body.

    Raises:
        ValueError: there are several.
    """
    labels = trimesh.graph.connected_component_labels(mesh.edges_unique, node_count=len(mesh.vertices))
    boxes = [
        np.stack([part.min(axis=0), part.max(axis=0)])
        for part in (mesh.vertices[labels == label] for label in np.unique(labels))
    ]
    limit = max(_MAX_GAP_M, _MAX_GAP * float(np.ptp(mesh.vertices, axis=0).max()))
    gaps = np.array([[_gap(one, other) for other in boxes] for one in boxes])
    bodies, body = trimesh.graph.csgraph.connected_components(gaps <= limit, directed=False)
    if bodies > 1:
        apart = float(gaps[body[:, None] != body[None, :]].min())
        raise ValueError(
            f"Expected one body in {file}, got {bodies} that lie {apart:.2g} m apart. Save each as a file of its own."
        )


def _keeps(mesh: trimesh.Trimesh) -> Iterator[Bool[np.ndarray, "f"]]:
    """Yield which faces to keep, dropping more each time."""
    ordered = np.sort(mesh.faces, axis=1)
    keep = (ordered[:, 1:] != ordered[:, :-1]).all(axis=1)
    yield keep
    first = np.zeros(len(keep), dtype=bool)
    first[np.unique(ordered, axis=0, return_index=True)[1]] = True
    yield keep & first
    yield keep & first & (mesh.area_faces > 1e-14)


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the distance of two boxes, each (lower, upper) corner."""
    return float(np.linalg.norm(np.maximum(0.0, np.maximum(one[0] - other[1], other[0] - one[1]))))
