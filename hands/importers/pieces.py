"""How a hand's collision mesh becomes convex pieces: the convex hull of each of its connected parts."""

import logging
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import ConvexHull, QhullError

from sceneleapultra.hands.checks import LINK_SIZES_M, MAX_LINK_M
from sceneleapultra.hands.description import Vector
from sceneleapultra.utils.geometry.mesh_files import guess_units, read_mesh

_LOG = logging.getLogger(__name__)
_HULL_DIRECTIONS = 160
_NO_VOLUME_M3 = 1e-12  # a cube of a tenth of a millimetre
_KEPT_VOLUME = 0.9
_MIN_LINK_M = 1e-3

Points = Float[np.ndarray, "_ 3"]


def mesh_pieces(file: Path, scale: Vector, where: str) -> list[tuple[Vector, ...]]:
    """Return the corners of the convex hull of each part of a mesh, parts without volume left out.

    Args:
        file: the mesh.
        scale: metres per unit of the file, by axis.
        where: which link of which file it belongs to.

    Raises:
        ValueError: not a mesh, of another unit than metres, or without any volume.
    """
    mesh = read_mesh(file)
    mesh.apply_scale(scale)
    _check_extent(float(mesh.extents.max()), f"{where}: mesh {file}")
    parts = _parts(mesh)
    solids = [part for part in parts if _has_volume(part)]
    if not solids:
        raise ValueError(
            f"{where}: expected a solid in mesh {file}, but none of its {len(parts)} part(s) has a volume: they are "
            "flat. Give it a thickness, or take a box."
        )
    if len(solids) < len(parts):
        _LOG.warning(
            "%s: left out %d flat of %d parts of %s", where, len(parts) - len(solids), len(parts), file
        )
    return [hull_corners(_support_points(part), f"{where}: mesh {file}") for part in solids]


def hull_corners(vertices: Points, where: str) -> tuple[Vector, ...]:
    """Return the corners of the convex hull of points.

    Raises:
        ValueError: the points lie in a plane.
    """
    points = np.unique(np.asarray(vertices, dtype=np.float64).round(7), axis=0)
    try:
        corners = points[ConvexHull(points).vertices]
    except QhullError as error:
        raise ValueError(
            f"{where}: expected a solid, got {len(points)} points in one plane. Give it a thickness."
        ) from error
    return tuple(tuple(float(x) for x in corner) for corner in corners)


def _check_extent(extent: float, what: str) -> None:
    if extent > MAX_LINK_M:
        raise ValueError(
            f'{what} spans {extent:.3g} m: {guess_units(extent, *LINK_SIZES_M)}. Add the factor as scale="…" to the '
            "<mesh>, three times."
        )
    if extent < _MIN_LINK_M:
        raise ValueError(
            f"{what} spans {extent:.1e} m, less than a millimetre. Is its scale right? Metres need none."
        )


def _parts(mesh: trimesh.Trimesh) -> list[Points]:
    """Return the vertices of each connected part.

    Closed parts are taken as the file has them, so that convex pieces that only touch stay apart; what is torn at
    seams of texture or normals is joined by position first.
    """
    mesh.merge_vertices()
    parts = mesh.split(only_watertight=False, repair=False)
    closed = [part for part in parts if part.is_watertight]
    torn = [part for part in parts if not part.is_watertight]
    if torn:
        joined = trimesh.util.concatenate(torn)
        assert isinstance(joined, trimesh.Trimesh)
        joined.merge_vertices(merge_tex=True, merge_norm=True)
        torn = joined.split(only_watertight=False, repair=False)
    found = [np.asarray(part.vertices, dtype=np.float64) for part in (*closed, *torn)]
    return found or [np.asarray(mesh.vertices, dtype=np.float64)]


def _has_volume(points: Points) -> bool:
    try:
        return bool(ConvexHull(points).volume > _NO_VOLUME_M3)
    except QhullError:
        return False


def _support_points(vertices: Points) -> Points:
    """Keep the vertices that are extreme in one of many evenly spread directions, so that hulls stay small.

    What is lost is below radius * (1 - cos(9 degrees)), so about 1 % of a round tip's radius. Where more is lost, at
    sharp corners between the directions, all corners are kept.
    """
    k = np.arange(_HULL_DIRECTIONS) + 0.5
    z, turn = 1 - 2 * k / _HULL_DIRECTIONS, np.pi * (1 + np.sqrt(5)) * k
    ring = np.sqrt(1 - z * z)
    directions = np.stack((ring * np.cos(turn), ring * np.sin(turn), z), axis=1)
    kept = vertices[np.unique((vertices @ directions.T).argmax(0))]
    enough = _has_volume(kept) and ConvexHull(kept).volume > _KEPT_VOLUME * ConvexHull(vertices).volume
    return kept if enough else vertices
