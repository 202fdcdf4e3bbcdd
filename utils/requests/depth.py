"""From a depth image and its camera to points in the camera's frame: x right, y down, z forward."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.utils.requests.sensor_cloud import SensorCloud, check_colors, check_mask

_NUMBERS = "fx fy cx cy, or the nine numbers of K row by row, in pixels"


def camera_matrix(numbers: Any, source: str, size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
    """Return the matrix of intrinsics.

    Args:
        numbers: fx fy cx cy, or a 3 x 3 matrix, or its nine numbers row by row.
        source: named in messages.
        size: height and width of the image (pixels).

    Raises:
        ValueError: other numbers, or such as no camera of this image has.
    """
    try:
        values = np.asarray(numbers, dtype=float).ravel()
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.size not in (4, 9) or not np.isfinite(values).all():
        raise ValueError(f"{source}: expected {_NUMBERS}; got {numbers}.")
    if values.size == 9:
        K = values.reshape(3, 3)
        if abs(K[0, 1]) > 1e-6 or np.abs(K[1, 0]) > 1e-6 or not np.allclose(K[2], [0, 0, 1]):
            raise ValueError(f"{source}: expected K = [[fx 0 cx] [0 fy cy] [0 0 1]]; got {K.tolist()}.")
        values = K[[0, 1, 0, 1], [0, 1, 2, 2]]
    fx, fy, cx, cy = values
    height, width = size
    if not (0.2 * width < fx < 20 * width and 0.2 * height < fy < 20 * height):
        raise ValueError(
            f"{source}: the focal lengths {fx:g} and {fy:g} are not those of an image of {width} x {height} pixels. "
            f"Expected {_NUMBERS}, of this very image (not of another resolution)."
        )
    if not (0 < cx < width and 0 < cy < height):
        raise ValueError(
            f"{source}: the principal point ({cx:g}, {cy:g}) lies outside the image of {width} x {height} pixels. "
            f"Expected {_NUMBERS}, of this very image (not of another resolution)."
        )
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def read_intrinsics(words: Sequence[str]) -> Any:
    """Return the numbers of a command line, or of a JSON file: fx, fy, cx, cy; or K; or ROS's CameraInfo with k.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file without them.
    """
    if len(words) != 1:
        try:
            return [float(word) for word in words]
        except ValueError as error:
            raise ValueError(
                f"--intrinsics: expected {_NUMBERS}, or a JSON file; got {' '.join(words)}."
            ) from error
    path = Path(words[0])
    if not path.is_file():
        raise FileNotFoundError(
            f"--intrinsics: there is no file {path}. Pass {_NUMBERS}, or a JSON file of them."
        )
    try:
        found = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--intrinsics: {path} is no JSON file ({error}).") from error
    return intrinsics_of(found, str(path))


def intrinsics_of(found: Any, source: str) -> Any:
    """Return the numbers in what a JSON file holds.

    Raises:
        ValueError: it holds none that are known.
    """
    if isinstance(found, dict):
        for names in (("fx", "fy", "cx", "cy"), ("fx", "fy", "ppx", "ppy")):
            if all(name in found for name in names):
                return [found[name] for name in names]
        for name in ("K", "k", "intrinsic_matrix", "camera_matrix"):
            if name in found:
                K = (
                    found[name]["data"]
                    if isinstance(found[name], dict) and "data" in found[name]
                    else found[name]
                )
                try:
                    K = np.asarray(K, dtype=float).ravel()
                except (TypeError, ValueError):
                    raise ValueError(
                        f"{source}: expected fx, fy, cx and cy, or the numbers of {name}; got {K!s:.60}."
                    ) from None
                # Open3D writes its matrix column by column; the last row of one that is written so is cx cy 1.
                return K.reshape(3, 3).T if K.size == 9 and K[2] == K[5] == 0.0 and K[6] > 0.0 else K
    known = found if not isinstance(found, dict) else ", ".join(map(str, found))
    raise ValueError(f"{source}: expected fx, fy, cx and cy (or ppx and ppy), or K; got {known}.")


def metric_depth(depth: np.ndarray, scale: float | None, source: str) -> Float[np.ndarray, "h w"]:
    """Return depth in metres, NaN where there is none.

    Args:
        depth: along the optical axis: floats in metres, or whole numbers in units of ``scale``.
        scale: metres per unit; None for floats in metres.
        source: named in messages.

    Raises:
        ValueError: no image, or whole numbers without a scale.
    """
    depth = np.asarray(depth)
    if depth.ndim != 2 or depth.dtype.kind not in "fiu":
        raise ValueError(
            f"{source}: expected a depth image of shape (h, w), got {depth.dtype} of shape {depth.shape}."
        )
    whole = depth.dtype.kind in "iu"
    if whole and scale is None:
        largest = int(depth.max(initial=0))
        raise ValueError(
            f"{source} holds whole numbers up to {largest}: of which unit? Pass --depth-scale 0.001 for millimetres "
            "(depth_scale=0.001 in Python), as RealSense and Azure Kinect write them; a RealSense L515 has 0.00025."
        )
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"{source}: depth_scale must be the metres of one unit, more than 0; got {scale}.")
    metres = depth.astype(np.float64) * (1.0 if scale is None else scale)
    invalid = ~np.isfinite(metres) | (metres <= 0)
    if whole:
        invalid |= depth == np.iinfo(depth.dtype).max
    return np.where(invalid, np.nan, metres)


def cloud_of_depth(
    depth: np.ndarray,
    intrinsics: Any,
    *,
    scale: float | None,
    source: str,
    rgb: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> SensorCloud:
    """Return the organized cloud of a depth image; pixels without depth are NaN.

    Raises:
        ValueError: images or intrinsics that are none, or do not fit one another.
    """
    metres = metric_depth(depth, scale, source)
    height, width = metres.shape
    K = camera_matrix(intrinsics, f"intrinsics of {source}", (height, width))
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    points = np.stack([(u - K[0, 2]) / K[0, 0] * metres, (v - K[1, 2]) / K[1, 1] * metres, metres], axis=-1)
    return SensorCloud(
        points=points,
        rgb=check_colors(rgb, points, f"{source}, rgb"),
        mask=None if mask is None else check_mask(mask, (height, width), f"{source}, mask"),
        source=source,
        frame="camera",
    )
