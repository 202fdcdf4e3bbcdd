"""Small and flat things as they lie on tables: one function per family, from a random generator to a solid.

Heights, as they lie, of 8 to 35 mm and widths of mostly 15 to 60 mm: what fingertips pinch from above. Every solid is
built as it lies, with the table below. Lengths are in metres, densities in kg/m^3.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from sceneleapultra.simulation.objects import solid as shapes
from sceneleapultra.simulation.objects.solid import Solid, box, circle, convex, frusta, join
from sceneleapultra.utils.parts import Part

_ROUND = 24


def _tile(rng: np.random.Generator) -> Solid:
    return box(*rng.uniform([0.025, 0.035, 0.008], [0.060, 0.085, 0.018]))


def _plate(rng: np.random.Generator) -> Solid:
    """Return a dish: a foot, and a rim that is wider, thin enough for a finger under it or around it."""
    foot, height, flare = rng.uniform([0.014, 0.010, 1.15], [0.024, 0.020, 1.40])
    edge = height * rng.uniform(0.35, 0.6)
    return frusta([(foot, 0.0), (foot * flare, height - edge), (foot * flare, height)], sides=_ROUND)


def _bar(rng: np.random.Generator) -> Solid:
    width, length, height = rng.uniform([0.015, 0.060, 0.010], [0.035, 0.160, 0.032])
    bevel = rng.uniform(0.0, 0.25) * min(width, height)
    half, inner = np.array([width / 2, height / 2]), np.array([width / 2, height / 2]) - bevel
    section = [
        (sx * x, sz * z)
        for sx in (-1, 1)
        for sz in (-1, 1)
        for x, z in ((half[0], inner[1]), (inner[0], half[1]))
    ]
    return convex(np.array([(x, y, z) for x, z in section for y in (-length / 2, length / 2)]))


def _rod(rng: np.random.Generator) -> Solid:
    """Return a pen or a round stick that lies: two parts of different thickness, the first may have six sides."""
    radius, length, tip = rng.uniform([0.0055, 0.080, 0.7], [0.0130, 0.170, 1.0])
    sides = int(rng.choice([6, 8, _ROUND]))
    grip = length * rng.uniform(0.3, 0.7)
    profile = [(radius, 0.0), (radius, grip), (radius * tip, grip + 0.1 * length), (radius * tip, length)]
    return frusta(profile, sides).lying()


def _disc(rng: np.random.Generator) -> Solid:
    radius, height = rng.uniform([0.0100, 0.008], [0.0300, 0.022])
    return frusta([(radius, 0.0), (radius * rng.uniform(0.9, 1.0), height)], sides=_ROUND)


def _block(rng: np.random.Generator) -> Solid:
    """Return a die, a toy brick or a small box, perhaps with a smaller one on top."""
    size = rng.uniform(0.015, 0.034) * np.array([1.0, *rng.uniform(0.8, 1.3, 2)])
    body = box(*size)
    if rng.random() < 0.6:
        return body
    knob = box(*(size * rng.uniform([0.4, 0.4, 0.2], [0.8, 0.8, 0.3])))
    return join([body, knob.shift(z=0.5 * size[2])])


def _pebble(rng: np.random.Generator) -> Solid:
    half = rng.uniform([0.010, 0.012, 0.006], [0.022, 0.028, 0.016])
    if rng.random() < 0.5:
        exponents = rng.uniform(0.6, 1.3, size=2)
        return shapes.superellipsoid(half, (exponents[0], exponents[1]), rings=11, sides=18)
    directions = rng.normal(size=(int(rng.integers(16, 40)), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return convex(directions * half * rng.uniform(0.8, 1.0, size=(len(directions), 1)))


def _bracket(rng: np.random.Generator) -> Solid:
    """Return a flat L or T, as hooks, keys and brackets are."""
    span, reach, arm, height = rng.uniform([0.045, 0.035, 0.014, 0.009], [0.095, 0.070, 0.022, 0.024])
    bar = box(span, arm, height)
    stem = box(arm, reach, height).shift(y=(reach - arm) / 2)
    return join([bar, stem.shift(x=(span - arm) / 2 if rng.random() < 0.5 else 0.0)])


def _tool(rng: np.random.Generator) -> Solid:
    """Return a handle with a head at its end: a wrench, a screwdriver or a spatula that lies."""
    length, width, height = rng.uniform([0.090, 0.014, 0.010], [0.160, 0.024, 0.022])
    handle = box(length, width, height)
    head_length, head_width = rng.uniform([0.020, 1.3], [0.045, 2.2]) * [1.0, width]
    thickness = height * rng.uniform(0.6, 1.0)
    if rng.random() < 0.5:
        head = frusta([(head_width / 2, 0.0), (head_width / 2, thickness)], sides=_ROUND).shift(z=-height / 2)
    else:
        head = box(head_length, head_width, thickness).shift(z=(thickness - height) / 2)
    return join([handle.named(Part.HANDLE), head.shift(x=length / 2).named(Part.HEAD)])


def _wedge(rng: np.random.Generator) -> Solid:
    width, length, high = rng.uniform([0.020, 0.035, 0.016], [0.045, 0.080, 0.035])
    low = high * rng.uniform(0.3, 0.7)
    corners = [
        (x, y, z)
        for x in (-width / 2, width / 2)
        for y, top in ((-length / 2, low), (length / 2, high))
        for z in (0.0, top)
    ]
    return convex(np.array(corners))


def _washer(rng: np.random.Generator) -> Solid:
    """Return a flat ring with a round or a square section."""
    outer, wall, height = rng.uniform([0.014, 0.25, 0.008], [0.032, 0.45, 0.020])
    inner = outer * (1 - wall)
    if rng.random() < 0.5:
        section = np.array([[inner, 0.0], [outer, 0.0], [outer, height], [inner, height]])
    else:
        oval = circle(1.0, 0.0, 8, turn=np.pi / 8)[:, :2]
        section = oval * [(outer - inner) / 2, height / 2] + [(outer + inner) / 2, 0.0]
    return shapes.torus(section, segments=20)


_ALL = (_tile, _plate, _bar, _rod, _disc, _block, _pebble, _bracket, _tool, _wedge, _washer)
FLAT_BUILDERS: Mapping[str, Callable[[np.random.Generator], Solid]] = MappingProxyType(
    {build.__name__[1:]: build for build in _ALL}
)

# From light wood to stone and aluminium, with plastics in between; logarithmically uniform.
DENSITIES = (500.0, 2700.0)
