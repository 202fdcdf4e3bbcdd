"""How meshes on disk become objects: found, read, centered, and given convex pieces."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int

from sceneleapultra.simulation.objects.decomposition import convex_pieces, default_cache
from sceneleapultra.simulation.objects.layouts import SUFFIXES, Source, find_sources
from sceneleapultra.simulation.objects.pieces import check_fit, read_pieces, union_volume_and_center
from sceneleapultra.simulation.objects.procedural import OBJECT_MASS, volume_and_center
from sceneleapultra.simulation.objects.repair import mend
from sceneleapultra.simulation.objects.surfaces import (
    check_one_body,
    clean_surface,
    is_closed,
    read_surface,
)
from sceneleapultra.utils.core.parallel import Executor, LocalExecutor, map_ordered
from sceneleapultra.utils.records import ObjectRecord

_LOG = logging.getLogger(__name__)
_MIN_VOLUME_M3 = 1e-9
_NAMED = 3  # bad objects in a message

Progress = Callable[[str, int, int], None]  # what is done, how many are, how many there are


@dataclass(frozen=True)
class CheckedMesh:
    """A surface that has passed all checks, in the frame of its file; ``note`` says what was changed for that."""

    source: Source
    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    center: Float[np.ndarray, "3"]  # of mass
    pieces: tuple[Float[np.ndarray, "_ 3"], ...]  # none: to be computed
    note: str = ""

    def record(self, cache: Path) -> ObjectRecord:
        """Return the object about its center of mass; its pieces are computed where it has none."""
        pieces = self.pieces or tuple(convex_pieces(self.vertices, self.faces, self.source.name, cache))
        check_fit(self.source, self.vertices, np.vstack(pieces))
        return ObjectRecord(
            name=self.source.name,
            family=self.source.family,
            vertices=self.vertices - self.center,
            faces=self.faces,
            pieces=tuple(piece - self.center for piece in pieces),
            mass=OBJECT_MASS,
        )


def load_objects(
    path: str | Path,
    cache: Path | None = None,
    *,
    repair: bool = False,
    max_bad_fraction: float = 0.0,
    executor: Executor | None = None,
    progress: Progress = lambda *_: None,
) -> list[ObjectRecord]:
    """Load every object below a folder, or the one of a single mesh file or object folder, sorted by name.

    An object's family is the folder that holds it. Its frame moves to the center of mass, keeping the axes of
    the file. If a surface comes with convex pieces but is open, the pieces are the solid (volume, center,
    contact) and the surface is only what a camera sees. All are read and checked before the first is decomposed.

    Args:
        path: a mesh file or a folder; metres.
        cache: where computed convex pieces are kept; by default in the user's cache folder.
        repair: mend surfaces that are not closed, as far as that changes no shape; the log says what moved.
        max_bad_fraction: share of the objects that may be bad: these are left out, and named in the log.
        executor: where surfaces are read and decomposed; by default in this process.
        progress: called before the first object and after each.

    Raises:
        FileNotFoundError: there is nothing at ``path``, or no mesh below it.
        ValueError: more objects than allowed are damaged, open, flat, too large to be in metres, of several bodies, or
            do not fit their pieces.
    """
    root = Path(path)
    if not 0.0 <= max_bad_fraction < 1.0:
        raise ValueError(f"objects.max_bad_fraction: expected 0 to less than 1, got {max_bad_fraction}.")
    if not root.exists():
        raise FileNotFoundError(
            f"Expected a mesh or a folder of meshes at {root}, found nothing. Check objects.path."
        )
    sources = find_sources(root)
    if not sources:
        raise FileNotFoundError(f"Expected a mesh ({', '.join(SUFFIXES)}) below {root}, found none. Add one.")
    executor = executor or LocalExecutor(workers=1)
    solids: list[CheckedMesh] = []
    bad: list[str] = []
    progress("reading meshes", 0, len(sources))
    for read in map_ordered(partial(_try, repair=repair), sources, executor, describe=lambda s: s.name):
        if isinstance(read, str):
            bad.append(read)
        else:
            solids.append(read)
            if read.note:
                _LOG.warning("%s: %s", read.source.surface, read.note)
        progress("reading meshes", len(solids) + len(bad), len(sources))
    if len(bad) > max_bad_fraction * len(sources):
        raise ValueError(_refusal(bad, len(sources), root, max_bad_fraction))
    for sentence in bad:
        _LOG.warning("Left out: %s", sentence)
    records = []
    finish = partial(CheckedMesh.record, cache=cache or default_cache())
    progress("convex pieces", 0, len(solids))  # the first may take minutes
    for record in map_ordered(finish, solids, executor, describe=lambda s: s.source.name):
        records.append(record)
        progress("convex pieces", len(records), len(solids))
    return records


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
    sources = find_sources(path)
    if len(sources) != 1:
        raise FileNotFoundError(f"Object '{name}': expected one mesh at {path}, found {len(sources)}.")
    solid = read_checked(replace(sources[0], name=name, family=family), scale, repair=False)
    return solid.record(cache or default_cache()), solid.center


def as_solid(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], *, name: str, family: str
) -> tuple[ObjectRecord, Float[np.ndarray, "3"]]:
    """Return an object given by its triangles (m) as :func:`load_solid` does one in a file."""
    source = Source(name, family, Path(name), ())
    solid = _solid(source, clean_surface(vertices, faces, source.surface), (), repair=False)
    return solid.record(default_cache()), solid.center


def _try(source: Source, repair: bool) -> CheckedMesh | str:
    """Return an object, or the sentence that says why there is none."""
    try:
        return read_checked(source, 1.0, repair=repair)
    except (ValueError, FileNotFoundError) as error:
        return str(error)


def _refusal(bad: list[str], total: int, root: Path, allowed: float) -> str:
    if total == 1:
        return bad[0]
    more = f" And {len(bad) - _NAMED} more." if len(bad) > _NAMED else ""
    return (
        f"{len(bad)} of {total} objects below {root} cannot be used, more than "
        f"objects.max_bad_fraction={allowed:g} allows: {' '.join(bad[:_NAMED])}{more} Remove them, "
        "try objects.repair=true, or raise objects.max_bad_fraction."
    )


def read_checked(source: Source, scale: float, *, repair: bool) -> CheckedMesh:
    """Read the surface and the pieces of an object, mended if it may be.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: as :func:`load_objects` says.
    """
    surface = read_surface(source.surface, scale)
    pieces = tuple(scale * piece for file in source.pieces for piece in read_pieces(file))
    return _solid(source, surface, pieces, repair)


def _solid(
    source: Source,
    surface: trimesh.Trimesh,
    pieces: tuple[Float[np.ndarray, "_ 3"], ...],
    repair: bool,
) -> CheckedMesh:
    note = ""
    if not is_closed(surface) and not pieces:
        if not repair:
            raise ValueError(
                f"Expected a watertight mesh in {source.surface}, got one with open or inconsistent edges. "
                "Pass objects.repair=true (predict.py: --repair), close its holes, or give convex pieces beside it."
            )
        surface, note = mend(surface, source.surface)
    vertices = np.asarray(surface.vertices, dtype=np.float64)
    faces = np.asarray(surface.faces, dtype=np.int32)
    if not pieces:
        check_one_body(surface, source.surface)
    if is_closed(surface):
        volume, center = volume_and_center(vertices, faces)
        if volume < 0:  # closed, but seen from inside
            faces, volume = faces[:, ::-1], -volume
    else:
        _LOG.info("%s is open: its convex pieces are taken as the solid.", source.surface)
        volume, center = union_volume_and_center(list(pieces))
    if volume < _MIN_VOLUME_M3:
        raise ValueError(
            f"Expected a solid with a volume in {source.surface}, got {volume:.1e} cubic metres. "
            "Give it a thickness, or scale it to metres."
        )
    if pieces:
        check_fit(source, vertices, np.vstack(pieces))
    return CheckedMesh(source, vertices, faces, center, pieces, note)
