"""Which object of a view is meant: a mask, a box, a pixel, a point, a number, or the only one above the table."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from sceneleapultra.utils.requests.clusters import Cluster, find_clusters
from sceneleapultra.utils.requests.table_plane import TablePlane

_PIXEL_REACH = 6  # pixels: how far the nearest pixel with depth may be from the one that is named
_ABOVE_M, _NOISE = (
    (0.004, 0.012),
    3.5,
)  # the least height of an object's points: bounds, and spreads of the table's
_AT_REACH_M = 0.03  # the same of a point
_FLAGS = {"mask": "--mask", "box": "--box", "pixel": "--pixel", "at": "--at", "number": "--object"}


@dataclass(frozen=True)
class Target:
    """What names the object: one of these, or none where a single one stands on the table.

    Attributes:
        mask: booleans or 0 and 1, of the shape of the points without their last axis.
        box: two corners, of pixels ``(u0, v0, u1, v1)`` in an image, or of space ``(x0, y0, z0, x1, y1, z1)`` (m).
        pixel: column and row of a pixel that shows it.
        at: a point on or near it (m).
        number: its place in the list of objects, the one with most points first, from 1.
    """

    mask: np.ndarray | None = None
    box: tuple[float, ...] | None = None
    pixel: tuple[int, int] | None = None
    at: tuple[float, float, float] | None = None
    number: int | None = None

    @property
    def named(self) -> list[str]:
        """The flags that name the object."""
        return [_FLAGS[f.name] for f in fields(self) if getattr(self, f.name) is not None]

    def __post_init__(self) -> None:
        """Refuse two answers to one question, and boxes of other lengths."""
        if len(self.named) > 1:
            raise ValueError(f"{' and '.join(self.named)} both name the object. Pass one of them.")
        if self.box is not None and len(self.box) not in (4, 6):
            raise ValueError(
                f"--box: expected two corners, u0 v0 u1 v1 (pixels) or x0 y0 z0 x1 y1 z1 (m), got {len(self.box)} "
                "numbers."
            )
        for flag, values in (("--box", self.box), ("--at", self.at)):
            if values is not None and not np.isfinite(values).all():
                raise ValueError(f"{flag}: expected finite numbers, got {tuple(values)}.")


@dataclass(frozen=True)
class View:
    """The valid points of a cloud, and the pixels that they come from."""

    points: Float[np.ndarray, "n 3"]
    pixels: Int[np.ndarray, "n 2"] | None  # column, row
    grid: tuple[int, int] | None
    source: str
    viewpoint: Float[np.ndarray, "3"]  # camera center

    def place(self, target: Target) -> Float[np.ndarray, "3"] | None:
        """Return about where a target is, before the table is known; None where nothing names a place.

        Raises:
            ValueError: a pixel or a point where nothing is.
        """
        if target.pixel is not None or target.at is not None:
            return self.points[self._nearest(target)].astype(np.float64)
        inside = self.inside(target)
        return None if inside is None else np.median(self.points[inside], axis=0).astype(np.float64)

    def inside(self, target: Target) -> Bool[np.ndarray, "n"] | None:
        """Return which points lie in a target's box; None where it is named otherwise.

        Raises:
            ValueError: none does.
        """
        if target.box is None:
            return None
        corners = np.sort(np.reshape(target.box, (2, -1)), axis=0)
        where = self.points if corners.shape[1] == 3 else self._pixels("--box of four numbers")
        inside = ((where >= corners[0]) & (where <= corners[1])).all(-1)
        if not inside.any():
            raise ValueError(
                f"--box {_words(target.box)} holds none of the {len(where):,} points of {self.source}."
            )
        return inside

    def _nearest(self, target: Target) -> int:
        """Return the point that a pixel or a point names."""
        distance, reach, unit = self._distances(target)
        nearest = int(distance.argmin())
        if distance[nearest] > reach:
            raise ValueError(
                f"{_name(target)}: the nearest point of {self.source} is {distance[nearest]:.3g} {unit} away, expected "
                f"at most {reach:g} {unit}. Name a place where the object was measured."
            )
        return nearest

    def _distances(self, target: Target) -> tuple[Float[np.ndarray, "n"], float, str]:
        """Return how far each point is from a pixel or a point, how far it may be, and the unit of both."""
        if target.at is not None:
            return np.linalg.norm(self.points - np.asarray(target.at), axis=1), _AT_REACH_M, "m"
        assert target.pixel is not None and self._pixels("--pixel") is not None
        u, v = target.pixel
        height, width = self.grid or (0, 0)
        if not (0 <= u < width and 0 <= v < height):
            raise ValueError(
                f"{_name(target)} lies outside the image of {self.source}: {width} x {height} pixels (column, row)."
            )
        return np.linalg.norm(self._pixels("--pixel") - np.array([u, v]), axis=1), _PIXEL_REACH, "pixels"

    def _pixels(self, what: str) -> Int[np.ndarray, "n 2"]:
        if self.pixels is None:
            raise ValueError(
                f"{what} needs an image: a depth image, or a cloud of shape (h, w, 3). {self.source} is a list of "
                "points. Pass --at X Y Z (m), or --mask."
            )
        return self.pixels

    def choose(self, target: Target, plane: TablePlane) -> tuple[Bool[np.ndarray, "n"], str]:
        """Return the points of the object that a target other than a mask names, and a word on how it was found.

        Args:
            target: what names it.
            plane: of the table.

        Raises:
            ValueError: nothing stands there, or several objects do and none is named; the message lists them.
        """
        above_m = _least_height(plane)
        above = plane.heights(self.points) > above_m
        inside = self.inside(target)
        if inside is not None:
            found = find_clusters(self.points, np.flatnonzero(above & inside), self.pixels, self.viewpoint)
            if not found:
                raise ValueError(
                    f"--box {_words(target.box or ())}: of its {int(inside.sum()):,} points "
                    f"{int((above & inside).sum()):,} are above the table, and they make no object."
                )
            return self._marked(found[0]), "the largest object in the box" if len(
                found
            ) > 1 else "the object in the box"
        found = find_clusters(self.points, np.flatnonzero(above), self.pixels, self.viewpoint)
        if not found:
            raise ValueError(
                f"No object stands out of the table in {self.source}: {int(above.sum()):,} of {len(above):,} points "
                f"are more than {1e3 * above_m:.0f} mm above it. Pass --mask, or --up where the table was not found "
                "right."
            )
        if target.pixel is not None or target.at is not None:
            return self._named(target, found, plane)
        if target.number is not None:
            if not 1 <= target.number <= len(found):
                raise ValueError(f"--object {target.number}: expected 1 to {len(found)}.\n{_listed(found)}")
            return self._marked(found[target.number - 1]), f"object {target.number} of {len(found)}"
        if len(found) > 1:
            raise ValueError(
                f"{len(found)} objects stand on the table. Name one: --object N, --pixel U V, --at X Y Z, --box or "
                f"--mask.\n{_listed(found)}"
            )
        return self._marked(found[0]), "the only object above the table"

    def objects(self, plane: TablePlane) -> list[Bool[np.ndarray, "n"]]:
        """Return the points of each object above the table, the one with most points first."""
        above = plane.heights(self.points) > _least_height(plane)
        found = find_clusters(self.points, np.flatnonzero(above), self.pixels, self.viewpoint)
        return [self._marked(cluster) for cluster in found]

    def _named(
        self, target: Target, found: tuple[Cluster, ...], plane: TablePlane
    ) -> tuple[Bool[np.ndarray, "n"], str]:
        nearest = self._nearest(target)
        # The inner side of a ring, and what is lost at an edge, belong to no object, but stand beside one.
        distance, reach, _ = self._distances(target)
        owner = np.zeros(len(self.points), dtype=int)
        for number, cluster in enumerate(found, 1):
            owner[cluster.index] = number
        chosen = owner[np.where(owner > 0, distance, np.inf).argmin()]
        if distance[owner == chosen].min() <= reach:
            return self._marked(found[chosen - 1]), f"object {chosen} of {len(found)}"
        height = plane.height_of(self.points[nearest].astype(np.float64))
        where = "shows the table" if abs(height) <= _least_height(plane) else "belongs to none of the objects"
        raise ValueError(
            f"{_name(target)} {where} ({1e3 * height:.0f} mm above its plane). The objects are:\n{_listed(found)}"
        )

    def _marked(self, cluster: Cluster) -> Bool[np.ndarray, "n"]:
        mask = np.zeros(len(self.points), dtype=bool)
        mask[cluster.index] = True
        return mask


def _least_height(plane: TablePlane) -> float:
    """Return how far above the table a point is no part of it, by the noise that the table itself shows (m)."""
    return float(np.clip(_NOISE * plane.spread_m, *_ABOVE_M))


def _name(target: Target) -> str:
    if target.at is not None:
        return f"--at {_words(target.at)}"
    return f"--pixel {_words(target.pixel or ())}"


def _words(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _listed(found: tuple[Cluster, ...]) -> str:
    def lines() -> Iterator[str]:
        for number, cluster in enumerate(found, 1):
            yield cluster.describe(number)

    return "\n".join(lines())
