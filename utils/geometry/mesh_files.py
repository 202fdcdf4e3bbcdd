"""Triangle meshes in files: read from their own bytes alone, whatever the file is refused in a sentence."""

import io
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from sceneleapultra.utils.core.files import describe_file
from sceneleapultra.utils.geometry.collada import read_collada

# Formats that hold a whole mesh in one file.
MESH_SUFFIXES = (".obj", ".stl", ".ply", ".off", ".glb", ".dae")
# What trimesh's readers raise on bytes that are not what their name says.
_DAMAGED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    MemoryError,
    EOFError,
    struct.error,
    trimesh.exchange.stl.HeaderError,
)
_UNITS = {"centimetres": 0.01, "inches": 0.0254, "millimetres": 0.001}


def read_mesh(file: Path) -> trimesh.Trimesh:
    """Read the triangles of a file as they stand there: no vertex is merged, no material or texture is opened.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a mesh of a known type, damaged, without triangles, or with vertices that are not finite.
    """
    if file.suffix.lower() not in MESH_SUFFIXES:
        raise ValueError(
            f"Expected a mesh of type {', '.join(MESH_SUFFIXES)}, got {file}. Convert it to .obj or .stl first."
        )
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # it logs the trace of what it then raises
    try:
        mesh = read_collada(file) if file.suffix.lower() == ".dae" else _load(file)
    except _DAMAGED as error:
        raise ValueError(
            f"Expected a mesh in {file}, but it is {describe_file(file)}: {error}. Export or copy it again."
        ) from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise ValueError(
            f"Expected triangles in {file}, got an empty mesh: it is {describe_file(file)}. Export it again, with "
            "faces."
        )
    if not np.isfinite(mesh.vertices).all():
        raise ValueError(
            f"Expected finite vertices in {file}, got infinite or undefined ones. Export it again."
        )
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise ValueError(
            f"Expected faces between the {len(mesh.vertices)} vertices of {file}, got one with vertex "
            f"{int(mesh.faces.max())}. Export it again."
        )
    return mesh


def _load(file: Path) -> Any:
    """Load a file from memory: a reader that has no folder opens no other file."""
    data = io.BytesIO(file.read_bytes())
    return trimesh.load_mesh(data, file_type=file.suffix[1:].lower(), process=False, skip_materials=True)


def guess_units(extent: float, smallest_m: float, largest_m: float) -> str:
    """Say in which units a thing of this extent would be of a size between two bounds, and by which factor.

    Example:
        >>> guess_units(60.0, 0.01, 0.3)
        'looks like millimetres (times 0.001 it spans 0.06 m)'
    """
    fitting = [
        f"{unit} (times {factor:g} it spans {factor * extent:.2g} m)"
        for unit, factor in _UNITS.items()
        if smallest_m <= factor * extent <= largest_m
    ]
    return f"looks like {' or '.join(fitting)}" if fitting else "is in no unit that would fit"
