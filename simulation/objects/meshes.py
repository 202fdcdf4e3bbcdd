"""How meshes on disk become objects: found, checked, centered, and given convex pieces.

An object is one of
- a folder with ``visual.obj`` and ``collision.obj`` (one convex piece per ``o`` group) or
  ``meshes/convex_piece_*.obj``;
- a folder with ``mesh/simplified.obj`` and ``urdf/meshes/convex_piece_*.obj`` (DexGraspBench);
- a folder with ``coacd/decomposed.obj`` and ``coacd/coacd_convex_piece_*.obj`` (DexGraspNet);
- any other single .obj, .stl or .ply file; its convex pieces are computed once and kept.
"""

import itertools
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import manifold3d
import numpy as np
import trimesh
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull, QhullError

from sceneleapultra.simulation.objects.decomposition import convex_pieces, default_cache
from sceneleapultra.simulation.objects.procedural import OBJECT_MASS, volume_and_center
from sceneleapultra.simulation.objects.solid import convex, hull_vertices
from sceneleapultra.utils.records import ObjectRecord

_LOG = logging.getLogger(__name__)

_SUFFIXES = (".obj", ".stl", ".ply")
# (surface, pieces) of the layouts of an object's folder; the pieces are a glob pattern.
_LAYOUTS = (
    ("visual.obj", "collision.obj"),
    ("visual.obj", "meshes/convex_piece_*.obj"),
    ("mesh/simplified.obj", "urdf/meshes/convex_piece_*.obj"),
    ("coacd/decomposed.obj", "coacd/coacd_convex_piece_*.obj"),
)
_MAX_EXTENT_M = 2.0
_MIN_VOLUME_M3 = 1e-9
# A group that fills less of its hull than this is not a convex piece.
_MIN_CONVEXITY = 0.85
# Surface and pieces of one object may differ by this share of the extent.
_MAX_MISMATCH = 0.1


@dataclass(frozen=True)
class _Source:
    name: str
    family: str
    surface: Path
    pieces: tuple[Path, ...]


def load_objects(path: str | Path, cache: Path | None = None) -> list[ObjectRecord]:
    """Load every object below a folder, or the one of a single mesh file or object folder, sorted by name.

    An object's family is the folder that holds it. Its frame moves to the center of mass, keeping the axes of
    the file. If a surface comes with convex pieces but is open, the pieces are the solid (volume, center,
    contact) and the surface is only what a camera sees.

    Args:
        path: a mesh file or a folder; metres.
        cache: where computed convex pieces are kept; by default in the user's cache folder.

    Raises:
        FileNotFoundError: there is nothing at ``path``, or no mesh below it.
        ValueError: a mesh is empty, open, flat, too large to be in metres, or does not fit its pieces.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(
            f"Expected a mesh or a folder of meshes at {root}, found nothing. Check objects.path."
        )
    sources = sorted(_find(root), key=lambda source: source.name)
    if not sources:
        raise FileNotFoundError(
            f"Expected a mesh ({', '.join(_SUFFIXES)}) below {root}, found none. Add one."
        )
    for one, other in itertools.pairwise(sources):
        if one.name == other.name:
            raise ValueError(
                f"Expected one mesh per name, got {one.surface} and {other.surface}. Rename one of them."
            )
    return [_load(source, 1.0, default_cache() if cache is None else cache)[0] for source in sources]


def load_solid(
    path: Path, *, name: str, family: str, scale: float, cache: Path | None = None
) -> tuple[ObjectRecord, Float[np.ndarray, "3"]]:
    """Load one object under another name and size; also say where its center of mass is in the file's (scaled) frame.

    Args:
        path: a mesh file, or the folder of one object.
        name: of the object.
        family: of the object.
        scale: metres per unit of the file.
        cache: where computed convex pieces are kept; by default in the user's cache folder.

    Raises:
        FileNotFoundError: no mesh there.
        ValueError: several meshes, or one that :func:`load_objects` refuses.
    """
    if not path.exists():
        raise FileNotFoundError(f"Object '{name}' has no mesh: expected it at {path}. Put it there.")
    sources = _find(path)
    if len(sources) != 1:
        raise FileNotFoundError(f"Object '{name}': expected one mesh at {path}, found {len(sources)}.")
    source = replace(sources[0], name=name, family=family)
    return _load(source, scale, default_cache() if cache is None else cache)


def as_solid(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], *, name: str, family: str
) -> tuple[ObjectRecord, Float[np.ndarray, "3"]]:
    """Return an object given by its triangles (m) as :func:`load_solid` does one in a file."""
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    return _solid(_Source(name, family, Path(name), ()), _checked(mesh, Path(name), 1.0), [], default_cache())


def _find(root: Path) -> list[_Source]:
    if root.is_file():
        if root.suffix.lower() not in _SUFFIXES:
            raise ValueError(f"Expected a mesh of type {', '.join(_SUFFIXES)}, got {root}. Convert it first.")
        return [_Source(root.stem, root.resolve().parent.name, root, ())]
    return _find_below(root.resolve(), root.resolve())


def _find_below(folder: Path, root: Path) -> list[_Source]:
    """Return the objects of a folder and of those inside it; an object's folder is not searched further."""
    prefix = "-".join(folder.relative_to(root).parts)
    for surface, pattern in _LAYOUTS:
        pieces = tuple(sorted(folder.glob(pattern)))
        if (folder / surface).is_file() and pieces:
            return [_Source(prefix or folder.name, folder.parent.name, folder / surface, pieces)]
    found: list[_Source] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            found += _find_below(entry, root)
        elif entry.suffix.lower() in _SUFFIXES:
            found.append(_Source("-".join(filter(None, (prefix, entry.stem))), folder.name, entry, ()))
    return found


def _load(source: _Source, scale: float, cache: Path) -> tuple[ObjectRecord, Float[np.ndarray, "3"]]:
    surface = _read_surface(source.surface, scale)
    pieces = [scale * piece for file in source.pieces for piece in _read_pieces(file)]
    return _solid(source, surface, pieces, cache)


def _solid(
    source: _Source, surface: trimesh.Trimesh, pieces: list[Float[np.ndarray, "_ 3"]], cache: Path
) -> tuple[ObjectRecord, Float[np.ndarray, "3"]]:
    """Return the object, and its center of mass in the frame of the surface."""
    closed = bool(surface.is_watertight and surface.is_winding_consistent)
    if not closed and not pieces:
        raise ValueError(
            f"Expected a watertight mesh in {source.surface}, got one with open or inconsistent edges. "
            "Close its holes, or give convex pieces beside it."
        )
    vertices = np.asarray(surface.vertices, dtype=np.float64)
    faces = np.asarray(surface.faces, dtype=np.int32)
    if closed:
        volume, center = volume_and_center(vertices, faces)
        if volume < 0:  # closed, but seen from inside
            faces, volume = faces[:, ::-1], -volume
    else:
        _LOG.info("%s is open: its convex pieces are taken as the solid.", source.surface)
        volume, center = _union_volume_and_center(pieces)
    if volume < _MIN_VOLUME_M3:
        raise ValueError(
            f"Expected a solid with a volume in {source.surface}, got {volume:.1e} cubic metres. "
            "Give it a thickness, or scale it to metres."
        )
    if not pieces:
        pieces = convex_pieces(vertices, faces, source.name, cache)
    _check_fit(source, vertices, np.vstack(pieces))
    record = ObjectRecord(
        name=source.name,
        family=source.family,
        vertices=vertices - center,
        faces=faces,
        pieces=tuple(piece - center for piece in pieces),
        mass=OBJECT_MASS,
    )
    return record, center


def _read_surface(file: Path, scale: float) -> trimesh.Trimesh:
    """Read a mesh with every vertex once, whatever seams of texture or normals it has."""
    return _checked(trimesh.load_mesh(file, process=False), file, scale)


def _checked(mesh: object, file: Path, scale: float) -> trimesh.Trimesh:
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise ValueError(f"Expected triangles in {file}, got an empty mesh. Export it again, with faces.")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError(
            f"Expected finite vertices in {file}, got infinite or undefined ones. Export it again."
        )
    mesh = trimesh.Trimesh(scale * mesh.vertices, mesh.faces, process=False)
    mesh.merge_vertices()
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    if extent > _MAX_EXTENT_M:
        raise ValueError(
            f"Expected an object of at most {_MAX_EXTENT_M:g} m in {file}, got an extent of {extent:.4g}: "
            "looks like millimetres. Scale it to metres."
        )
    return mesh


def _read_pieces(file: Path) -> list[Float[np.ndarray, "_ 3"]]:
    """Read the convex pieces of a file, one per ``o`` or ``g`` group."""
    pieces = []
    for name, points, volume in _obj_groups(file):
        try:
            hull = ConvexHull(points)
        except QhullError as error:
            raise ValueError(
                f"Expected a convex piece in group '{name}' of {file}, got a flat one. Remove it."
            ) from error
        if volume < _MIN_CONVEXITY * hull.volume:
            raise ValueError(
                f"Expected convex pieces in {file}, but group '{name}' fills {volume / hull.volume:.0%} of its hull. "
                "Split it into convex groups, or remove the file to have it decomposed."
            )
        pieces.append(hull_vertices(points))
    if not pieces:
        raise ValueError(f"Expected convex pieces in {file}, got no faces. Export it again, with faces.")
    return pieces


def _obj_groups(file: Path) -> list[tuple[str, Float[np.ndarray, "_ 3"], float]]:
    """Return name, used vertices and enclosed volume of each group with faces."""
    vertices: list[list[float]] = []
    groups: list[tuple[str, list[tuple[int, int, int]]]] = [(file.stem, [])]
    for line in file.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(word) for word in words[1:4]])
        elif words[0] in ("o", "g"):
            groups.append((" ".join(words[1:]), []))
        elif words[0] == "f":
            corners = [int(word.split("/")[0]) for word in words[1:]]
            corners = [corner - 1 if corner > 0 else len(vertices) + corner for corner in corners]
            groups[-1][1].extend((corners[0], b, c) for b, c in itertools.pairwise(corners))
    points = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    found = []
    for name, triangles in groups:
        if triangles:
            used, faces = np.unique(np.array(triangles), return_inverse=True)
            volume, _ = volume_and_center(points[used], faces.reshape(-1, 3))
            found.append((name, points[used], abs(volume)))
    return found


def _union_volume_and_center(pieces: list[Float[np.ndarray, "_ 3"]]) -> tuple[float, Float[np.ndarray, "3"]]:
    hulls = [convex(piece).surface for piece in pieces]
    mesh = manifold3d.Manifold.batch_boolean(hulls, manifold3d.OpType.Add).to_mesh64()
    return volume_and_center(np.array(mesh.vert_properties[:, :3]), np.array(mesh.tri_verts, dtype=np.int64))


def _check_fit(
    source: _Source, vertices: Float[np.ndarray, "v 3"], corners: Float[np.ndarray, "c 3"]
) -> None:
    """Refuse pieces that are not those of the surface: another frame or another scale."""
    bounds, piece_bounds = (np.stack([points.min(0), points.max(0)]) for points in (vertices, corners))
    mismatch = float(np.abs(bounds - piece_bounds).max())
    extent = float(np.ptp(bounds, axis=0).max())
    if mismatch > _MAX_MISMATCH * extent:
        raise ValueError(
            f"Expected the convex pieces of {source.surface} to cover it, but their bounds differ by "
            f"{mismatch:.3g} m at an extent of {extent:.3g} m. Give both in one frame and scale."
        )
