"""The convex pieces that come with an object: read from their files, checked to be convex and to fit the surface."""

import itertools
from pathlib import Path

import manifold3d
import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull, QhullError

from sceneleapultra.simulation.objects.layouts import Source
from sceneleapultra.simulation.objects.procedural import volume_and_center
from sceneleapultra.simulation.objects.solid import convex, hull_vertices
from sceneleapultra.utils.geometry.mesh_files import read_mesh

# A group that fills less of its hull than this is not a convex piece.
_MIN_CONVEXITY = 0.85
# Surface and pieces of one object may differ by this share of the extent.
_MAX_MISMATCH = 0.1

Points = Float[np.ndarray, "_ 3"]


def read_pieces(file: Path) -> list[Points]:
    """Read the convex pieces of a file: one per ``o`` or ``g`` group of an .obj, else one per connected part.

    Raises:
        ValueError: damaged, without faces, or with a piece that is flat or not convex.
    """
    pieces = []
    for name, points, volume in _obj_groups(file) if file.suffix.lower() == ".obj" else _parts(file):
        try:
            hull = ConvexHull(points)
        except QhullError as error:
            raise ValueError(
                f"Expected a convex piece in {name} of {file}, got a flat one. Remove it."
            ) from error
        if volume < _MIN_CONVEXITY * hull.volume:
            raise ValueError(
                f"Expected convex pieces in {file}, but {name} fills {volume / hull.volume:.0%} of its hull. "
                "Split it into convex groups, or remove the file to have it decomposed."
            )
        pieces.append(hull_vertices(points))
    if not pieces:
        raise ValueError(f"Expected convex pieces in {file}, got no faces. Export it again, with faces.")
    return pieces


def _parts(file: Path) -> list[tuple[str, Points, float]]:
    """Return name, vertices and enclosed volume of each connected part of a mesh."""
    mesh = read_mesh(file)
    mesh.merge_vertices()
    found = []
    for k, part in enumerate(mesh.split(only_watertight=False, repair=False)):
        volume, _ = volume_and_center(np.asarray(part.vertices), np.asarray(part.faces))
        found.append((f"part {k}", np.asarray(part.vertices, dtype=np.float64), abs(volume)))
    return found


def _obj_groups(file: Path) -> list[tuple[str, Points, float]]:
    """Return name, used vertices and enclosed volume of each group with faces."""
    vertices: list[list[float]] = []
    groups: list[tuple[str, list[tuple[int, int, int]]]] = [(file.stem, [])]
    # Numbers are ASCII; names may be in any encoding, and do not matter.
    for number, line in enumerate(file.read_bytes().decode("ascii", errors="replace").splitlines(), start=1):
        words = line.split()
        try:
            if not words:
                continue
            if words[0] == "v":
                x, y, z = (float(word) for word in words[1:4])
                vertices.append([x, y, z])
            elif words[0] in ("o", "g"):
                groups.append((" ".join(words[1:]), []))
            elif words[0] == "f":
                corners = [int(word.split("/")[0]) for word in words[1:]]
                corners = [corner - 1 if corner > 0 else len(vertices) + corner for corner in corners]
                groups[-1][1].extend((corners[0], b, c) for b, c in itertools.pairwise(corners))
        except ValueError as error:
            raise ValueError(
                f"Expected numbers in line {number} of {file}, got '{line.strip()[:60]}'. Export it again."
            ) from error
    points = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    found = []
    for name, triangles in groups:
        if triangles:
            used, faces = np.unique(np.array(triangles), return_inverse=True)
            if used.min() < 0 or used.max() >= len(points) or not np.isfinite(points[used]).all():
                raise ValueError(
                    f"Expected faces between {len(points)} finite vertices in group '{name}' of {file}, got others. "
                    "Export it again."
                )
            volume, _ = volume_and_center(points[used], faces.reshape(-1, 3))
            found.append((f"group '{name}'", points[used], abs(volume)))
    return found


def union_volume_and_center(pieces: list[Points]) -> tuple[float, Float[np.ndarray, "3"]]:
    """Return volume and center of mass of what overlapping pieces fill."""
    hulls = [convex(piece).surface for piece in pieces]
    mesh = manifold3d.Manifold.batch_boolean(hulls, manifold3d.OpType.Add).to_mesh64()
    return volume_and_center(np.array(mesh.vert_properties[:, :3]), np.array(mesh.tri_verts, dtype=np.int64))


def check_fit(source: Source, vertices: Float[np.ndarray, "v 3"], corners: Float[np.ndarray, "c 3"]) -> None:
    """Refuse pieces that are not those of the surface: another frame or another scale."""
    bounds, piece_bounds = (np.stack([points.min(0), points.max(0)]) for points in (vertices, corners))
    mismatch = float(np.abs(bounds - piece_bounds).max())
    extent = float(np.ptp(bounds, axis=0).max())
    if mismatch > _MAX_MISMATCH * extent:
        raise ValueError(
            f"Expected the convex pieces of {source.surface} to cover it, but their bounds differ by "
            f"{mismatch:.3g} m at an extent of {extent:.3g} m. Give both in one frame and scale."
        )
