"""Which shapes exist: one function per family, from a random generator to a solid in the graspable range.

Sizes are for a hand as large as a person's: something between 25 and 90 mm wide to close around, and mostly more
than 35 mm tall, so that fingers do not meet the table. Lengths are in metres.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.spatial.transform import Rotation

from sceneleapultra.simulation.objects.solid import (
    Solid,
    box,
    circle,
    convex,
    frusta,
    join,
    shell,
    superellipsoid,
    torus,
    tube,
)
from sceneleapultra.utils.parts import Part

# A multiple of 4, so that the outermost corners lie on the x and y axes.
_ROUND = 24
_SECTORS = 12


def _superquadric(rng: np.random.Generator) -> Solid:
    half = rng.uniform([0.018, 0.018, 0.022], [0.042, 0.042, 0.055])
    exponents = rng.uniform(0.25, 1.5, size=2)
    return superellipsoid(half, (exponents[0], exponents[1]), rings=13, sides=20)


def _box(rng: np.random.Generator) -> Solid:
    return box(*rng.uniform([0.026, 0.030, 0.035], [0.075, 0.110, 0.150]))


def _cylinder(rng: np.random.Generator) -> Solid:
    radius, height = rng.uniform([0.014, 0.040], [0.042, 0.160])
    return frusta([(radius, 0.0), (radius, height)], sides=_ROUND)


def _prism(rng: np.random.Generator) -> Solid:
    sides = int(rng.integers(3, 9))
    radius, height = rng.uniform([0.024, 0.040], [0.044, 0.130])
    top = radius * rng.uniform(0.5, 1.0)
    return convex(np.vstack([circle(radius, 0.0, sides), circle(top, height, sides)]))


def _blob(rng: np.random.Generator) -> Solid:
    half = rng.uniform([0.024, 0.024, 0.026], [0.046, 0.046, 0.060])
    directions = rng.normal(size=(int(rng.integers(14, 40)), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return convex(directions * half * rng.uniform(0.75, 1.0, size=(len(directions), 1)))


def _bottle(rng: np.random.Generator) -> Solid:
    body, neck = rng.uniform([0.022, 0.35], [0.040, 0.60])
    heights = rng.uniform([0.055, 0.010, 0.015, 0.010], [0.110, 0.035, 0.040, 0.020])
    z = np.cumsum(heights)
    cap = neck * rng.uniform(1.1, 1.35)
    return frusta(
        [
            (body * rng.uniform(0.8, 1.0), 0.0),
            (body, z[0]),
            (body * neck, z[1]),
            (body * neck, z[2]),
            (body * cap, z[2]),
            (body * cap, z[3]),
        ],
        sides=_ROUND,
    ).named(Part.BODY, Part.NECK, Part.NECK, Part.LID)


def _cup(rng: np.random.Generator) -> Solid:
    rim, height, wall = rng.uniform([0.030, 0.060, 0.0035], [0.046, 0.120, 0.005])
    foot = rim * rng.uniform(0.65, 1.0)
    return _straight_vessel(rim, foot, height, wall)


def _straight_vessel(rim: float, foot: float, height: float, wall: float) -> Solid:
    """Return a vessel with one straight wall from foot to rim."""
    floor = foot + (rim - foot) * wall / height
    return shell(
        [(foot, 0.0), (floor, wall), (rim, height)], [(floor - wall, wall), (rim - wall, height)], _SECTORS
    )


def _bowl(rng: np.random.Generator) -> Solid:
    rim, height, wall = rng.uniform([0.045, 0.036, 0.004], [0.070, 0.065, 0.006])
    foot = rim * rng.uniform(0.35, 0.55)
    belly = foot + (rim - foot) * rng.uniform(0.70, 0.85)
    middle = wall + (height - wall) * rng.uniform(0.35, 0.50)
    floor = foot + (belly - foot) * wall / middle
    return shell(
        [(foot, 0.0), (floor, wall), (belly, middle), (rim, height)],
        [(floor - wall, wall), (belly - wall, middle), (rim - wall, height)],
        _SECTORS,
    )


def _mug(rng: np.random.Generator) -> Solid:
    rim, height, wall = rng.uniform([0.030, 0.065, 0.004], [0.043, 0.105, 0.005])
    foot = rim * rng.uniform(0.88, 1.0)
    body = _straight_vessel(rim, foot, height, wall)
    reach, thickness, width = rng.uniform([0.022, 0.0035, 0.004], [0.032, 0.005, 0.008])
    low, high = height * rng.uniform([0.12, 0.75], [0.25, 0.88])

    # Half an ellipse in the xz plane; it starts and ends inside the wall.
    angles = np.linspace(-np.pi / 2, np.pi / 2, 6)
    center = (low + high) / 2
    path = np.column_stack([reach * np.cos(angles), np.zeros(6), center + (high - low) / 2 * np.sin(angles)])
    wall_radius = foot + (rim - foot) * path[:, 2] / height
    path[:, 0] += np.interp(path[:, 2], [low, high], [wall_radius[0], wall_radius[-1]]) - 0.5 * wall
    tangents = np.gradient(path, axis=0)
    tangents[[0, -1]] = [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]  # leaves the wall at a right angle
    normals = np.column_stack([tangents[:, 2], np.zeros(6), -tangents[:, 0]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return join([body, tube(path, normals, (thickness, width), sides=8).named(Part.HANDLE)])


def _polyshape(rng: np.random.Generator) -> Solid:
    span, depth = rng.uniform([0.060, 0.035], [0.095, 0.060])
    arm = span * rng.uniform(0.28, 0.42)
    side = (span - arm) / 2
    height = span * rng.uniform(0.8, 1.2)
    stem = box(arm, height, depth)
    bar = box(span, arm, depth)
    letter = str(rng.choice(["T", "L", "U", "plus"]))
    if letter == "T":
        return join([stem, bar.shift(y=(height - arm) / 2)])
    if letter == "L":
        return join([stem.shift(x=-side), bar.shift(y=-(height - arm) / 2)])
    if letter == "U":
        return join([stem.shift(x=-side), stem.shift(x=side), bar.shift(y=-(height - arm) / 2)])
    return join([stem, bar])


def _hammer(rng: np.random.Generator) -> Solid:
    length, radius = rng.uniform([0.100, 0.011], [0.170, 0.017])
    head_length, head_width = rng.uniform([0.060, 0.026], [0.100, 0.040])
    handle = frusta([(radius, 0.0), (radius * rng.uniform(0.75, 1.0), length)], sides=_ROUND // 2)
    if rng.random() < 0.5:
        head = box(head_length, head_width, head_width)
    else:
        head = frusta([(head_width / 2, -head_length / 2), (head_width / 2, head_length / 2)], sides=_ROUND)
        head = head.lying()
    head = head.shift(x=head_length * rng.uniform(-0.15, 0.15), z=length)
    return join([handle.named(Part.HANDLE), head.named(Part.HEAD)])


def _dumbbell(rng: np.random.Generator) -> Solid:
    bar_radius, bar_length, radius = rng.uniform([0.010, 0.050, 0.022], [0.016, 0.090, 0.036])
    thickness = radius * rng.uniform(0.8, 1.4)
    kind = str(rng.choice(["ball", "disc", "hexagon"]))
    if kind == "ball":
        weight = superellipsoid(np.array([radius, radius, thickness / 2]), (1.0, 1.0), rings=9, sides=16)
    else:
        sides = 6 if kind == "hexagon" else _ROUND
        weight = frusta([(radius, -thickness / 2), (radius, thickness / 2)], sides=sides)
    bar = frusta([(bar_radius, -bar_length / 2), (bar_radius, bar_length / 2)], sides=_ROUND // 2)
    center = bar_length / 2 + 0.4 * thickness
    weights = [weight.shift(z=z).named(Part.WEIGHT) for z in (-center, center)]
    return join([bar.named(Part.HANDLE), *weights])


def _ring(rng: np.random.Generator) -> Solid:
    major, half_width, half_height = rng.uniform([0.028, 0.007, 0.010], [0.042, 0.011, 0.022])
    angles = 2 * np.pi * (np.arange(8) + 0.5) / 8
    section = np.column_stack([major + half_width * np.cos(angles), half_height * np.sin(angles)])
    return torus(section / np.cos(np.pi / 8) + [major * (1 - 1 / np.cos(np.pi / 8)), 0.0], segments=16)


def _union(rng: np.random.Generator) -> Solid:
    parts: list[Solid] = []
    for _ in range(int(rng.integers(2, 5))):
        size = rng.uniform(0.022, 0.055, size=3)
        kind = str(rng.choice(["box", "cylinder", "ellipsoid"]))
        if kind == "box":
            part = box(*size)
        elif kind == "cylinder":
            part = frusta([(size[0] / 2, -size[2] / 2), (size[0] / 2, size[2] / 2)], sides=16)
        else:
            part = superellipsoid(size / 2, (1.0, 1.0), rings=9, sides=12)
        T = np.eye(4)
        T[:3, :3] = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        part = part.transform(T)
        if parts:
            # The center of a new part lies within an earlier one, so that the union is one body.
            earlier = parts[int(rng.integers(len(parts)))].pieces[0]
            weights = rng.dirichlet(np.ones(len(earlier)) * 0.05)
            part = part.shift(*(0.9 * weights @ earlier + 0.1 * earlier.mean(axis=0)))
        parts.append(part)
    return join(parts)


BUILDERS: Mapping[str, Callable[[np.random.Generator], Solid]] = MappingProxyType(
    {
        "superquadric": _superquadric,
        "box": _box,
        "cylinder": _cylinder,
        "prism": _prism,
        "blob": _blob,
        "bottle": _bottle,
        "cup": _cup,
        "bowl": _bowl,
        "mug": _mug,
        "polyshape": _polyshape,
        "hammer": _hammer,
        "dumbbell": _dumbbell,
        "ring": _ring,
        "union": _union,
    }
)
