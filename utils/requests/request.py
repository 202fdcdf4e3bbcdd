"""Somebody's cloud with the object to grasp in it, as predict, the Python API and a server take it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sceneleapultra.utils.geometry.frames import table_height
from sceneleapultra.utils.requests.clusters import principal_extents
from sceneleapultra.utils.requests.depth import cloud_of_depth
from sceneleapultra.utils.requests.sensor_cloud import (
    SensorCloud,
    check_colors,
    check_mask,
    check_points,
    describe_invalid,
    is_own_camera,
    valid_points,
)
from sceneleapultra.utils.requests.table_plane import NoTableError, TablePlane, fit_table
from sceneleapultra.utils.requests.target import Target, View

Vector = Sequence[float] | np.ndarray  # three numbers
_REACH_M = 2.0  # of a camera for a table; what is farther is the room
_NEAR_TARGET_M = 0.5  # the table is looked for so near to the object, where it is known
_SAME_UP = 1.0 - 1e-9
_LEAST_EXTENT_M, _MOST_DISTANCE_M = 0.005, 20.0


@dataclass(frozen=True)
class GraspRequest:
    """A cloud to grasp from: valid points only, one object marked, the direction against gravity known.

    Example:
        >>> request = GraspRequest.from_depth(depth, (fx, fy, cx, cy), target=Target(pixel=(320, 240)))
        >>> grasps = model.sample_request(request, 64)
    """

    points: Float[np.ndarray, "n 3"]  # m
    object_mask: Bool[np.ndarray, "n"]
    viewpoint: Float[np.ndarray, "3"]  # camera center
    up: Float[np.ndarray, "3"]  # unit vector against gravity
    rgb: UInt8[np.ndarray, "n 3"] | None = None
    frame: str = "cloud"  # the name of the frame that all of these, and the grasps, are in
    table: TablePlane | None = None  # as the cloud itself shows it; None where it shows none
    notes: tuple[str, ...] = ()  # what was left out, measured and chosen, for people

    @classmethod
    def from_depth(
        cls,
        depth: np.ndarray,
        intrinsics: Any,
        *,
        target: Target | None = None,
        up: Vector | None = None,
        rgb: np.ndarray | None = None,
        depth_scale: float | None = None,
    ) -> "GraspRequest":
        """Take a depth image.

        Args:
            depth: along the optical axis, (h, w): floats in metres, or whole numbers in units of ``depth_scale``.
            intrinsics: fx fy cx cy, or the matrix K (pixels).
            target: what names the object; None for the only one above the table. Its mask has the image's shape.
            up: direction against gravity in the camera's frame (x right, y down, z forward); None to measure it.
            rgb: the image's colors, registered to the depth.
            depth_scale: metres per unit of whole numbers.

        Raises:
            ValueError: see :meth:`of`; images or intrinsics that are none.
        """
        cloud = cloud_of_depth(depth, intrinsics, scale=depth_scale, source="depth", rgb=rgb)
        return cls.of(cloud, target=target, up=up)

    @classmethod
    def from_points(
        cls,
        points: np.ndarray,
        *,
        target: Target | None = None,
        up: Vector | None = None,
        viewpoint: Vector = (0.0, 0.0, 0.0),
        rgb: np.ndarray | None = None,
    ) -> "GraspRequest":
        """Take a cloud in any metric frame.

        Args:
            points: (n, 3), or (h, w, 3) as an organized cloud (m); float64 where the frame is that of a map.
            target: what names the object; None for the only one above the table.
            up: direction against gravity in the frame of the cloud; None to measure it.
            viewpoint: camera center in the frame of the cloud; the origin for a cloud in the camera's frame.
            rgb: the points' colors.

        Raises:
            ValueError: see :meth:`of`.
        """
        points = check_points(points, "points")
        cloud = SensorCloud(points=points, rgb=check_colors(rgb, points, "rgb"))
        return cls.of(cloud, target=target, up=up, viewpoint=viewpoint)

    @classmethod
    def of(
        cls,
        cloud: SensorCloud,
        *,
        target: Target | None = None,
        up: Vector | None = None,
        viewpoint: Vector = (0.0, 0.0, 0.0),
    ) -> "GraspRequest":
        """Leave out what is no surface, find the table, and mark the object.

        Raises:
            ValueError: nothing is valid; the object is not named, or not there; no plane is the table; numbers that
                mean nothing or are not in metres.
        """
        target = target or Target()
        if cloud.mask is not None and not target.named:
            target = Target(mask=cloud.mask)
        eye, direction = _finite("viewpoint", viewpoint), None if up is None else _direction(up)
        flat = cloud.points.reshape(-1, 3)
        index, left = valid_points(flat, eye)
        if len(index) == 0:
            counts = ", ".join(f"{count:,} {what}" for what, count in left.items())
            why = f" ({counts})" if counts else ""
            raise ValueError(f"{cloud.source}: none of {cloud.size:,} points holds a surface{why}.")
        view = View(flat[index], _pixels(cloud, index), cloud.grid, cloud.source, eye)
        _check_metres(view.points, eye, cloud.source)
        notes = [*describe_invalid(left, cloud.size)]
        mask = None
        if target.mask is not None:
            whole = check_mask(target.mask, cloud.points.shape[:-1], "object_mask").ravel()
            mask = whole[index]
            if whole.sum() > mask.sum():
                notes.append(
                    f"{whole.sum() - mask.sum():,} of {whole.sum():,} points of the mask hold no surface"
                )
            if not mask.any():
                raise ValueError(
                    f"object_mask marks {int(whole.sum()):,} of {cloud.size:,} points, none of them with a surface. "
                    "Is the mask right, and the object in view?"
                )
        place = view.points[mask].mean(0, dtype=np.float64) if mask is not None else view.place(target)
        table = _table(view.points, eye, place, needed=direction is None)
        if direction is None:
            assert table is not None
            direction = table.up
            notes.append(_describe_table(table, eye))
        if mask is None:
            base = (
                table
                if table is not None and up is None
                else _level_table(view.points, eye, place, direction)
            )
            mask, found = view.choose(target, base)
            notes.append(_describe_object(view.points[mask], eye, found))
        return cls(
            points=view.points,
            object_mask=mask,
            viewpoint=eye,
            up=direction,
            rgb=None if cloud.rgb is None else cloud.rgb.reshape(-1, 3)[index],
            frame=cloud.frame,
            table=table,
            notes=tuple(notes),
        )

    @property
    def target_points(self) -> Float[np.ndarray, "m 3"]:
        """The object's visible points."""
        return self.points[self.object_mask]

    def objects(self) -> tuple["GraspRequest", ...]:
        """Return a request for each object above the table, the one with most points first."""
        view = View(self.points, None, None, self.frame, self.viewpoint)
        masks = view.objects(level_plane(self))
        return tuple(replace(self, object_mask=mask, notes=()) for mask in masks)

    def without_colors(self) -> "GraspRequest":
        """Return the same without its colors."""
        return replace(self, rgb=None)


def _finite(name: str, values: Vector) -> Float[np.ndarray, "3"]:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (3,) or not np.isfinite(found).all():
        raise ValueError(f"{name}: expected three finite numbers, got {values}.")
    return found


def _direction(up: Vector) -> Float[np.ndarray, "3"]:
    values = _finite("up", up)
    length = float(np.linalg.norm(values))
    if not length > 0.0:
        raise ValueError(
            f"up must point against gravity, got {tuple(values.tolist())}. Leave it away to measure it from the table."
        )
    return values / length


def _pixels(cloud: SensorCloud, index: np.ndarray) -> np.ndarray | None:
    if cloud.grid is None:
        return None
    rows, columns = np.divmod(index, cloud.grid[1])
    return np.stack([columns, rows], axis=-1)


def _check_metres(points: np.ndarray, eye: np.ndarray, source: str) -> None:
    """Refuse clouds that cannot be in metres."""
    span = np.ptp(points, axis=0).max()
    if len(points) > 1 and span == 0.0:
        raise ValueError(f"{source}: all {len(points):,} points are one and the same, ({_words(points[0])}).")
    if span < _LEAST_EXTENT_M and len(points) > 1:
        raise ValueError(
            f"{source}: all {len(points):,} points lie within {1e3 * span:.2g} mm. Points must be in metres: multiply "
            "kilometres by 1000, or check the scale of the depth."
        )
    if is_own_camera(eye):
        distance = float(np.median(np.linalg.norm(points, axis=1)))
        if distance > _MOST_DISTANCE_M:
            raise ValueError(
                f"{source}: half of the points are more than {distance:.0f} m from the camera. Points must be in "
                "metres: divide millimetres by 1000 (a depth image: --depth-scale 0.001). If they are, and the "
                "cloud is not in its camera's frame, pass its viewpoint."
            )


def _table(
    points: np.ndarray, eye: np.ndarray, place: np.ndarray | None, *, needed: bool
) -> TablePlane | None:
    """Find the table where the object is, or within a camera's reach; None where none is found and none is needed."""
    near = _around(points, eye, _REACH_M) if place is None else _around(points, place, _NEAR_TARGET_M)
    try:
        return fit_table(near, eye)
    except NoTableError:
        if needed:
            raise
        return None


def _level_table(points: np.ndarray, eye: np.ndarray, place: np.ndarray | None, up: np.ndarray) -> TablePlane:
    """Return the level plane that most points lie in, where up is given."""
    near = _around(points, eye, _REACH_M) if place is None else _around(points, place, _NEAR_TARGET_M)
    near = (near if len(near) else points).astype(np.float64)
    return TablePlane(up, float(near[0] @ up) + table_height(near - near[0], up), 0.0, 0.0)


def level_plane(request: GraspRequest) -> TablePlane:
    """Return the table's plane; where up was given, the level one."""
    if request.table is not None and request.up @ request.table.up > _SAME_UP:
        return request.table
    center = request.target_points.mean(0, dtype=np.float64)
    return _level_table(request.points, request.viewpoint, center, request.up)


def _around(points: np.ndarray, center: np.ndarray, radius: float) -> np.ndarray:
    near: np.ndarray = points[np.square(points - center).sum(-1) <= radius**2]
    return near


def _describe_table(table: TablePlane, eye: np.ndarray) -> str:
    below = table.height_of(eye)
    # In its own frame a camera looks along z.
    tilt = (
        f", camera tilted {np.rad2deg(np.arcsin(np.clip(-table.up[2], -1, 1))):.0f}°"
        if is_own_camera(eye)
        else ""
    )
    return f"up measured: ({_words(table.up)}), table {below:.2f} m below the camera{tilt}"


def _describe_object(points: np.ndarray, eye: np.ndarray, found: str) -> str:
    size = " x ".join(f"{100 * x:.1f}" for x in principal_extents(points))
    center = points.mean(0, dtype=np.float64)
    return (
        f"{found}: {size} cm, {len(points):,} points at ({_words(center)}), {np.linalg.norm(center - eye):.2f} m "
        "from the camera"
    )


def _words(values: np.ndarray) -> str:
    def each() -> Iterator[str]:
        for value in values:
            yield f"{value:.3f}"

    return ", ".join(each())
