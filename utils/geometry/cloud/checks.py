"""Which clouds are refused, each with a sentence: wrong shapes, no numbers, coordinates too large for their type."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

_COARSE_M = 1e-3  # a grasp is placed to millimetres


def check_cloud(
    points: Float[np.ndarray, "..."],
    object_mask: Bool[np.ndarray, "..."],
    rgb: UInt8[np.ndarray, "..."] | np.ndarray | None,
) -> None:
    """Refuse what is no cloud.

    Raises:
        ValueError: shapes or types that do not fit, points that are no numbers, or coordinates so large for their
            type that neighboring numbers are more than a millimetre apart.
    """
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"scene_pc must have shape (n, 3), got {points.shape}; pass colors separately.")
    if object_mask.shape != points.shape[:1]:
        raise ValueError(
            f"object_mask must have shape ({len(points)},) like scene_pc, got {object_mask.shape}."
        )
    if rgb is not None and (np.shape(rgb) != points.shape or rgb.dtype != np.uint8):
        raise ValueError(
            f"scene_rgb must be uint8 of shape {points.shape} like scene_pc, got {rgb.dtype} of shape "
            f"{np.shape(rgb)}. Multiply colors of 0 to 1 by 255."
        )
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(-1).sum())
        raise ValueError(
            f"scene_pc has {bad} points with NaN or infinity of {len(points)}; remove them first."
        )
    if object_mask.any():
        _check_resolution(points[object_mask])


def _check_resolution(target: Float[np.ndarray, "n 3"]) -> None:
    largest = np.abs(target).max()
    spacing = float(np.spacing(largest))
    if spacing > _COARSE_M:
        raise ValueError(
            f"scene_pc is {target.dtype} with coordinates up to {float(largest):.0f} m, where neighboring numbers are "
            f"{1e3 * spacing:.3g} mm apart. Pass it as float64, as the map has it, or subtract the map's origin in "
            "float64 before rounding."
        )
