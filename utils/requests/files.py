"""Files of a camera: depth images (.png, .npy, .npz) and clouds (.ply, .pcd, .npy, .npz); masks beside them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from sceneleapultra.utils.core.files import describe_file
from sceneleapultra.utils.core.names import nearest_file
from sceneleapultra.utils.core.npz import read_npz
from sceneleapultra.utils.requests.depth import cloud_of_depth
from sceneleapultra.utils.requests.pcd import read_pcd
from sceneleapultra.utils.requests.sensor_cloud import SensorCloud, check_colors, check_mask, check_points

CLOUDS, IMAGES = (".npy", ".npz", ".ply", ".pcd"), (".png", ".tif", ".tiff")
MESHES = (".obj", ".stl")


def read_sensor(path: Path, intrinsics: Any | None, depth_scale: float | None) -> SensorCloud:
    """Read a depth image or a cloud.

    Args:
        path: the file; an .npz holds ``depth`` with ``K`` and ``depth_scale``, or ``points``; and, where there are any,
            ``rgb`` and ``mask``.
        intrinsics: of a depth image, see :func:`~sceneleapultra.utils.requests.depth.camera_matrix`.
        depth_scale: metres per unit of a depth image of whole numbers.

    Raises:
        FileNotFoundError: no file there.
        ValueError: neither, or one that is not complete.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no depth image, cloud or mesh at {path}.{nearest_file(path)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    arrays = _read_arrays(path)
    depth = arrays.get("depth")
    if depth is None:
        for what, value in (("--intrinsics", intrinsics), ("--depth-scale", depth_scale)):
            if value is not None:
                raise ValueError(
                    f"{what} belongs to a depth image of shape (h, w), and {path} holds points of shape "
                    f"{np.shape(arrays['points'])}. Leave it away."
                )
        points = check_points(arrays["points"], str(path))
        rgb, mask = arrays.get("rgb"), arrays.get("mask")
        return SensorCloud(
            points=points,
            rgb=check_colors(rgb, points, f"{path}, rgb"),
            mask=None if mask is None else check_mask(mask, points.shape[:-1], f"{path}, mask"),
            source=str(path),
        )
    if intrinsics is None and "K" not in arrays:
        raise ValueError(
            f"{path} is a depth image, whose points depend on its camera. Pass --intrinsics FX FY CX CY (pixels), or "
            "--intrinsics camera.json."
        )
    return cloud_of_depth(
        depth,
        arrays["K"] if intrinsics is None else intrinsics,
        scale=arrays.get("depth_scale") if depth_scale is None else depth_scale,
        source=str(path),
        rgb=arrays.get("rgb"),
        mask=arrays.get("mask"),
    )


def _read_arrays(path: Path) -> dict[str, Any]:
    """Return ``depth`` or ``points`` of a file, and what it holds beside them."""
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        return {"depth": _read_image(path, "depth image")}
    if suffix == ".npy":
        array = read_array(path)
        return (
            {"points" if array.shape[-1:] == (3,) else "depth": array}
            if array.ndim != 1
            else {"points": array}
        )
    if suffix == ".npz":
        return _read_npz(path)
    if suffix == ".ply":
        points, rgb = _read_ply(path)
    elif suffix == ".pcd":
        points, rgb = read_pcd(path)
    else:
        raise ValueError(
            f"{path}: expected a depth image ({', '.join(IMAGES)}, .npy, .npz), a cloud ({', '.join(CLOUDS)}) or a "
            f"mesh ({', '.join(MESHES)}, .ply, a folder), got '{path.suffix}'."
        )
    return {"points": points} if rgb is None else {"points": points, "rgb": rgb}


def read_array(path: Path) -> np.ndarray:
    """Read one .npy file.

    Raises:
        ValueError: not such a file, or one of Python objects.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is {describe_file(path)}; expected a complete .npy file of numbers ({error})."
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: expected one array, as numpy.save writes it, got several.")
    return array


def _read_npz(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = dict(read_npz(path))
    if "depth" not in found and "points" not in found:
        raise ValueError(
            f"{path}: expected the arrays depth and K, or points; and rgb and mask where there are any. Got "
            f"{', '.join(found) or 'none'}."
        )
    if "depth_scale" in found:
        scale = found["depth_scale"]
        if scale.size != 1 or scale.dtype.kind not in "fiu":
            raise ValueError(
                f"{path}, depth_scale: expected one number, the metres of one unit, got {scale.dtype} of shape "
                f"{scale.shape}."
            )
        found["depth_scale"] = float(scale.item())
    return found


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    import trimesh

    try:
        cloud = trimesh.load(path)
        points = np.asarray(cloud.vertices)  # type: ignore[attr-defined]
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, EOFError) as error:
        raise ValueError(
            f"{path} is {describe_file(path)}; expected a complete .ply file ({error})."
        ) from error
    colors = getattr(cloud, "colors", None)  # RGBA of a point cloud, empty without colors
    return points, None if colors is None or len(colors) == 0 else np.asarray(colors)[:, :3]


def _read_image(path: Path, what: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            array = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is {describe_file(path)}; expected a complete {what} ({error}).") from error
    if array.dtype == np.uint8 and what == "depth image":
        raise ValueError(
            f"{path} holds 8 bits per pixel ({image.mode}): a picture of depth, not depth. Save 16 bits per pixel, or "
            "metres as .npy."
        )
    return (
        array.astype(np.uint16) if image.mode == "I" and array.min() >= 0 and array.max() < 2**16 else array
    )


def read_mask(path: Path) -> np.ndarray:
    """Read a mask: booleans or 0 and 1 in an .npy file, black and white in an image.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file, or an image of more than two values.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"--mask: there is no file {path}. Pass an .npy or .png file that marks the object, or `all` where the "
            "whole cloud is the object; without --mask the object above the table is taken."
        )
    if path.suffix.lower() == ".npy":
        return read_array(path)
    mask = _read_image(path, "mask")
    if mask.ndim == 3 and mask.shape[2] in (3, 4) and (mask[..., :1] == mask[..., :3]).all():
        mask = mask[..., 0]
    values = np.unique(mask)
    if mask.ndim != 2 or len(values) > 2 or not (mask.dtype == bool or set(values.tolist()) <= {0, 1, 255}):
        raise ValueError(
            f"--mask {path}: expected an image of two values, 0 and 255, got {mask.dtype} of shape {mask.shape} with "
            f"{len(values)} values. Compare it first, for example labels == 2."
        )
    return mask != 0


def is_mesh(path: Path) -> bool:
    """Whether a file holds a surface, not only points."""
    if path.suffix.lower() != ".ply":
        return path.is_dir() or path.suffix.lower() in MESHES
    return path.is_file() and _ply_faces(path) > 0


def _ply_faces(path: Path) -> int:
    """Read the number of faces from the header."""
    with path.open("rb") as file:
        head = file.read(20_000).partition(b"end_header")[0]
    for line in head.splitlines():
        words = line.split()
        if len(words) == 3 and words[:2] == [b"element", b"face"] and words[2].isdigit():
            return int(words[2])
    return 0
