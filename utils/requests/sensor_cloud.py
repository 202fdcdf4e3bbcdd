"""A cloud as a camera gives it, and which of its points are none."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

_AT_ORIGIN_M = 1e-6  # a viewpoint so near to the origin is the camera's own
_AHEAD_SHARE = 0.9  # of the points have z > 0 in a camera's frame
# The farthest value is a stop, not a surface: beyond what a hand reaches, this share of all points holds it, and
# nothing lies near below it. (A table that a perfect camera sees from above has one depth, too.)
_STOP_SHARE, _STOP_GAP, _STOP_M = 0.003, 0.1, 1.5


@dataclass(frozen=True)
class SensorCloud:
    """Points in metres, invalid ones included: ``(n, 3)``, or ``(h, w, 3)`` where each belongs to a pixel."""

    points: Float[np.ndarray, "*grid 3"]
    rgb: UInt8[np.ndarray, "*grid 3"] | None = None
    mask: Bool[np.ndarray, "*grid"] | None = None  # the object, where the source marks it
    source: str = "points"  # named in messages
    frame: str = "cloud"

    @property
    def grid(self) -> tuple[int, int] | None:
        """Height and width in pixels; None for points in no order."""
        shape = self.points.shape
        return (shape[0], shape[1]) if len(shape) == 3 else None

    @property
    def size(self) -> int:
        """Number of points, invalid ones included."""
        return self.points.size // 3


def check_points(points: np.ndarray, source: str) -> np.ndarray:
    """Return points as floats.

    Raises:
        ValueError: another shape, or no floats.
    """
    points = np.asarray(points)
    if points.ndim not in (2, 3) or points.shape[-1] != 3 or not np.issubdtype(points.dtype, np.floating):
        raise ValueError(
            f"{source}: expected floats of shape (n, 3) or (h, w, 3) in metres, got {points.dtype} {points.shape}."
            + (" Pass colors separately." if points.ndim == 2 and points.shape[-1] in (4, 6) else "")
        )
    return points if points.dtype == np.float32 else points.astype(np.float64)


def check_colors(rgb: np.ndarray | None, points: np.ndarray, source: str) -> np.ndarray | None:
    """Return colors that fit the points.

    Raises:
        ValueError: other shapes or types.
    """
    if rgb is None:
        return None
    rgb = np.asarray(rgb)
    if rgb.shape != points.shape or rgb.dtype != np.uint8:
        raise ValueError(
            f"{source}: expected colors as uint8 of shape {points.shape} like the points, got {rgb.dtype} of shape "
            f"{rgb.shape}. Multiply colors of 0 to 1 by 255."
        )
    return rgb


def check_mask(mask: np.ndarray, grid: tuple[int, ...], source: str) -> np.ndarray:
    """Return a mask as booleans.

    Raises:
        ValueError: another shape, or values other than 0 and 1.
    """
    mask = np.asarray(mask)
    if mask.shape != grid:
        raise ValueError(
            f"{source}: expected booleans, one per point, shape {grid}; got {mask.dtype} of shape {mask.shape}."
        )
    if mask.dtype == bool:
        return mask
    values = np.unique(mask)
    if not np.isin(values, (0, 1)).all():
        shown = ", ".join(f"{v:g}" for v in values[:4]) + (", ..." if len(values) > 4 else "")
        raise ValueError(
            f"{source}: expected booleans, or 0 and 1; got {mask.dtype} with the values {shown}. Compare it first, for "
            "example labels == 2, or probability > 0.5."
        )
    return mask.astype(bool)


def is_own_camera(viewpoint: Float[np.ndarray, "3"]) -> bool:
    """Whether a cloud is given in the frame of its camera: the camera's center is the origin."""
    return float(np.abs(viewpoint).max()) <= _AT_ORIGIN_M


def valid_points(
    points: Float[np.ndarray, "n 3"], viewpoint: Float[np.ndarray, "3"]
) -> tuple[Int[np.ndarray, "m"], dict[str, int]]:
    """Return the indices of points that are surface, and how many are not, by what they hold instead."""
    finite = np.isfinite(points).all(-1)
    zero = (points == 0).all(-1)
    left = {"not finite": int((~finite).sum()), "at 0": int(zero.sum())}
    good = finite & ~zero
    if is_own_camera(viewpoint) and good.any():
        depth = points[:, 2]
        ahead = depth > 0
        if ahead[good].mean() > _AHEAD_SHARE:
            left["behind the camera"] = int((good & ~ahead).sum())
            good &= ahead
        stop = far_stop(np.abs(depth[good]))
        if stop is not None:
            stopped = good & (np.abs(depth) == stop)
            left[f"{stop:g}, the end of the range"] = int(stopped.sum())
            good &= ~stopped
    return np.flatnonzero(good), {what: count for what, count in left.items() if count}


def far_stop(depth: Float[np.ndarray, "n"]) -> float | None:
    """Return the largest value where a camera writes it for whatever is farther, and not for a surface."""
    if len(depth) == 0:
        return None
    largest = depth.max()
    at_it = depth == largest
    below = depth[~at_it].max() if not at_it.all() else largest
    is_stop = largest > _STOP_M and at_it.mean() >= _STOP_SHARE and below < (1.0 - _STOP_GAP) * largest
    return float(largest) if is_stop else None


def describe_invalid(left: dict[str, int], total: int) -> Iterable[str]:
    """Say what was left out, if anything."""
    if left:
        parts = ", ".join(f"{count:,} {what}" for what, count in left.items())
        yield f"{sum(left.values()):,} of {total:,} points hold no surface and are left out: {parts}"
