"""Which files of a folder are which object: its surface, and the convex pieces that come with it.

An object is one of
- a folder with a surface and pieces in one of the layouts of ``_LAYOUTS``;
- a folder of YCB's own download (``google_16k``, ``poisson`` and ``tsdf`` are scans of one object);
- any other mesh file. Files beside it whose names say that they are pieces (``mug_vhacd.obj``, ``mug_coacd_0.stl``,
  ``contact0.stl``) are its pieces, and ``textured``, ``nontextured`` and ``visual`` are one surface.
"""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".obj", ".stl", ".ply")
# (surface, pieces) of the layouts of an object's folder; the pieces are a glob pattern.
_LAYOUTS = (
    ("visual.obj", "collision.obj"),
    ("visual.obj", "meshes/convex_piece_*.obj"),
    ("mesh/simplified.obj", "urdf/meshes/convex_piece_*.obj"),
    ("coacd/decomposed.obj", "coacd/coacd_convex_piece_*.obj"),
)
# Scans of one object in YCB's folders, the best first.
_SCANS = ("google_16k", "google_64k", "google_512k", "poisson", "tsdf")
_PIECE_FOLDERS = ("coacd", "vhacd", "convex", "convex_pieces", "convex_decomposition", "collision")
_PIECE = re.compile(
    r"[-_. ]?(coacd|v?hacd\d*|convex([-_]?(piece|hull|part))?|collision|contact|decomposed)([-_. ]?\d+)*$"
)
_VARIANT = re.compile(r"(visual|textured|nontextured)([-_].*)?$")
_OF_FOLDER = ("model", "model_normalized", "mesh", "simplified")


@dataclass(frozen=True)
class Source:
    """Where one object comes from."""

    name: str
    family: str
    surface: Path
    pieces: tuple[Path, ...]


def find_sources(root: Path) -> list[Source]:
    """Return the objects of a mesh file, of an object's folder, or of a folder of objects, sorted by name.

    Raises:
        ValueError: not a mesh, two objects of one name, or pieces of which it is not clear whose they are.
    """
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise ValueError(f"Expected a mesh of type {', '.join(SUFFIXES)}, got {root}. Convert it first.")
        return [Source(root.stem, root.resolve().parent.name, root, ())]
    sources = sorted(_find_below(root.resolve(), root.resolve()), key=lambda source: source.name)
    for one, other in itertools.pairwise(sources):
        if one.name == other.name:
            raise ValueError(
                f"Expected one mesh per name, got {one.surface} and {other.surface}. Rename one of them."
            )
    return sources


def _find_below(folder: Path, root: Path) -> list[Source]:
    """Return the objects of a folder and of those inside it; an object's folder is not searched further."""
    prefix = "-".join(folder.relative_to(root).parts)
    for surface, pattern in _LAYOUTS:
        pieces = tuple(sorted(folder.glob(pattern)))
        if (folder / surface).is_file() and pieces:
            return [Source(prefix or folder.name, folder.parent.name, folder / surface, pieces)]
    if scan := next((folder / name for name in _SCANS if (folder / name).is_dir()), None):
        return _objects_in(scan, folder, prefix)
    found = _objects_in(folder, folder, prefix)
    taken = {piece.parent for source in found for piece in source.pieces}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry not in taken:
            found += _find_below(entry, root)
    return found


def _objects_in(folder: Path, named: Path, prefix: str) -> list[Source]:
    """Return the objects whose surfaces lie in a folder; ``named`` is the folder that gives a lone one its name."""
    files = _meshes_in(folder)
    surfaces, pieces = _surfaces([f for f in files if not _base(f)[1]]), [f for f in files if _base(f)[1]]
    if not surfaces and len(pieces) == 1:  # its name is no reason to leave out the only mesh
        surfaces, pieces = pieces, []
    if len(surfaces) == 1:
        inside = [f for name in _PIECE_FOLDERS if (folder / name).is_dir() for f in _meshes_in(folder / name)]
        pieces = pieces or inside
    of_surface: dict[Path, list[Path]] = {surface: [] for surface in surfaces}
    for piece in pieces:
        base = _base(piece)[0]
        owner = surfaces[0] if len(surfaces) == 1 else next((s for s in surfaces if s.stem == base), None)
        if owner is None:
            raise ValueError(
                f"{piece} is named as a convex piece, but of which of the {len(surfaces)} meshes beside it is not "
                "clear. Name it <mesh>_convex_0, put each object into a folder of its own, or remove it."
            )
        of_surface[owner].append(piece)
    found = []
    for surface, own in of_surface.items():
        plain = (surface.stem in (*_OF_FOLDER, named.name) and bool(own)) or bool(
            _VARIANT.match(surface.stem)
        )
        if len(surfaces) == 1 and plain:
            name, family = prefix or named.name, named.parent.name
        else:
            name, family = "-".join(filter(None, (prefix, surface.stem))), named.name
        found.append(Source(name, family, surface, tuple(own)))
    return found


def _surfaces(files: list[Path]) -> list[Path]:
    """Return one file per surface: of several variants of the folder's one object the best."""
    variants = [f for f in files if _VARIANT.match(f.stem)]
    ranked = sorted(variants, key=lambda f: (_rank(f.stem), SUFFIXES.index(f.suffix.lower()), f.name))
    return sorted([f for f in files if f not in variants] + ranked[:1])


def _rank(stem: str) -> tuple[int, str]:
    first = next(i for i, word in enumerate(("visual", "textured", "nontextured")) if stem.startswith(word))
    return first, stem


def _base(file: Path) -> tuple[str, bool]:
    """Return the name of the mesh that a file is a piece of, and whether its name says that it is one."""
    stem, shorter = file.stem, _PIECE.sub("", file.stem)
    while shorter != stem:
        stem, shorter = shorter, _PIECE.sub("", shorter)
    return stem, stem != file.stem


def _meshes_in(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.iterdir()) if f.is_file() and f.suffix.lower() in SUFFIXES]
