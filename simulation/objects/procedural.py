"""How a (family, seed) becomes an object: built, moved to its center of mass, given a name and a mass."""

import zlib

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.simulation.objects.families import BUILDERS
from sceneleapultra.simulation.objects.flat_families import DENSITIES, FLAT_BUILDERS
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.records import ObjectRecord

FAMILIES: tuple[str, ...] = tuple(BUILDERS)
FLAT_FAMILIES: tuple[str, ...] = tuple(FLAT_BUILDERS)
_BUILDERS = {**BUILDERS, **FLAT_BUILDERS}

# Every object of FAMILIES weighs the same, as in DexGraspBench; small and flat ones weigh what their material does.
# Protocols have masses of their own.
OBJECT_MASS = 0.1


def make_object(family: str, seed: int) -> ObjectRecord:
    """Return the object that a family makes of a seed; the same pair always gives the same object.

    Raises:
        ValueError: there is no such family, or the seed is negative.
    """
    if family not in _BUILDERS:
        raise unknown_name("object family", family, _BUILDERS)
    if seed < 0:
        raise ValueError(f"Expected a seed of at least 0 for an object of family '{family}', got {seed}.")
    # Keyed by the family's name and not by its place in the list: a new family changes no old object.
    rng = np.random.default_rng([seed, zlib.crc32(family.encode())])
    solid = _BUILDERS[family](rng)
    vertices, faces = solid.mesh()
    volume, center = volume_and_center(vertices, faces)
    mass = float(np.exp(rng.uniform(*np.log(DENSITIES)))) * volume if family in FLAT_BUILDERS else OBJECT_MASS
    return ObjectRecord(
        name=f"{family}-{seed:06d}",
        family=family,
        vertices=vertices - center,
        faces=faces,
        pieces=tuple(piece - center for piece in solid.pieces),
        mass=mass,
        piece_part=np.array(solid.parts, dtype=np.uint8) if any(solid.parts) else None,
    )


def volume_and_center(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[float, Float[np.ndarray, "3"]]:
    """Return volume and center of mass of the uniform solid inside a closed surface (sum over tetrahedra)."""
    origin = vertices.mean(axis=0)  # near the solid, for the sake of rounding
    a, b, c = (vertices[faces[:, k]] - origin for k in range(3))
    volumes = np.einsum("fi,fi->f", a, np.cross(b, c)) / 6
    volume = float(volumes.sum())
    if volume == 0.0:
        return 0.0, origin
    return volume, origin + volumes @ (a + b + c) / (4 * volume)
