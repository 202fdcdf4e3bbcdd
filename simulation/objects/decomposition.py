"""How a mesh without convex pieces gets them: CoACD, computed once for each surface and kept on disk."""

import hashlib
import logging
import os
from importlib.metadata import version
from pathlib import Path

import coacd
import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.simulation.objects.solid import hull_vertices
from sceneleapultra.utils.core.files import make_folder, write_atomically
from sceneleapultra.utils.core.npz import read_npz

_LOG = logging.getLogger(__name__)

# Concavity that may remain (share of the size), and bounds that keep contact fast.
_SETTINGS = {"threshold": 0.05, "max_convex_hull": 32, "max_ch_vertex": 64, "decimate": True, "seed": 0}


def default_cache() -> Path:
    """Return the folder for computed pieces in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sceneleapultra" / "convex_pieces"


def convex_pieces(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], name: str, cache: Path
) -> list[Float[np.ndarray, "_ 3"]]:
    """Return convex pieces that cover a closed surface approximately (Wei et al. 2022, CoACD).

    The same surface is decomposed once: the pieces lie in ``cache`` under a hash of surface and settings.
    """
    file = cache / f"{_content_hash(vertices, faces)}.npz"
    if file.exists():
        try:
            return list(read_npz(file).values())
        except ValueError as error:
            _LOG.warning("%s It is made again.", error)
    _LOG.info("Decomposing %s into convex pieces (seconds to minutes, once): %s", name, file)
    _make(cache)
    coacd.set_log_level("error")
    parts = coacd.run_coacd(coacd.Mesh(vertices, faces), **_SETTINGS)
    pieces = [hull_vertices(np.asarray(points, dtype=np.float64)) for points, _ in parts]

    def write(temporary: Path) -> None:
        np.savez(temporary, *pieces)

    write_atomically(file, write)
    return pieces


def _make(cache: Path) -> None:
    """Make the cache, before the minutes that fill it.

    Raises:
        OSError: nothing can be written there.
    """
    try:
        make_folder(cache)
    except OSError as error:
        raise OSError(
            f"Convex pieces of meshes are kept in {cache}, which cannot be written ({error.strerror}). Set "
            "XDG_CACHE_HOME to a folder that can."
        ) from error


def _content_hash(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> str:
    content = hashlib.sha256(f"coacd {version('coacd')} {sorted(_SETTINGS.items())}".encode())
    content.update(np.ascontiguousarray(vertices, dtype=np.float64).tobytes())
    content.update(np.ascontiguousarray(faces, dtype=np.int64).tobytes())
    return content.hexdigest()[:32]
