"""The one way from a cloud to what a network sees, used by data sets, by sampling and by whatever serves a model."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial.transform import Rotation

from sceneleapultra.utils.geometry.cloud.arrangement import select_points
from sceneleapultra.utils.geometry.cloud.checks import check_cloud
from sceneleapultra.utils.geometry.frames import CAMERA_MODES, cloud_frame, own_camera
from sceneleapultra.utils.geometry.point_choice import PointChoice


@dataclass(frozen=True, kw_only=True)
class CloudInput:
    """What a network sees of one cloud; fields as :class:`~sceneleapultra.utils.batch.GraspBatch` names them."""

    scene_pc: Float[np.ndarray, "n 3"]
    point_valid: Bool[np.ndarray, "n"]
    object_mask: Bool[np.ndarray, "n"]
    viewpoint: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    scene_rgb: UInt8[np.ndarray, "n 3"] | None


@dataclass(frozen=True, kw_only=True)
class PreparedCloud(CloudInput):
    """What a network sees of one cloud, and how it was made of that cloud.

    ``index`` says which of the given points stand where ``point_valid`` holds, so that any further column of the cloud
    can be arranged like it (see :meth:`column`).
    """

    T_cloud_frame: Float[np.ndarray, "4 4"]  # float64
    index: Int[np.ndarray, "m"]

    def column(self, values: np.ndarray, padding: Any) -> np.ndarray:
        """Arrange values of the given points like the points; ``padding`` stands where there is none."""
        return _padded(values[self.index], len(self.scene_pc), padding)

    def restore(self, hand_pose: Float[np.ndarray, "*g p"]) -> Float[np.ndarray, "*g p"]:
        """Express hand poses [translation, joints, quaternion wxyz] of this frame in the cloud's own, in float64."""
        pose = np.array(hand_pose, dtype=np.float64)
        R, t = self.T_cloud_frame[:3, :3], self.T_cloud_frame[:3, 3]
        pose[..., :3] = pose[..., :3] @ R.T + t
        if pose.size:
            turned = Rotation.from_matrix(R) * Rotation.from_quat(
                pose[..., -4:].reshape(-1, 4), scalar_first=True
            )
            pose[..., -4:] = turned.as_quat(scalar_first=True).reshape(pose[..., -4:].shape)
        return pose


@dataclass(frozen=True, kw_only=True)
class CloudProcessor:
    """How clouds are prepared; ``config/data`` says what each number means.

    Example:
        >>> prepared = processor(points, mask, viewpoint=(0, 0, 0), up=(0, -1, 0), rgb=None, rng=rng)
        >>> prepared.scene_pc, prepared.restore(hand_pose)
    """

    num_points: int
    target_share: float
    crop_radius: float
    points: PointChoice
    frame: str

    def __post_init__(self) -> None:
        rules = {
            "num_points": (self.num_points >= 1, "at least 1"),
            "target_share": (0.0 < self.target_share < 1.0, "between 0 and 1"),
            "crop_radius": (self.crop_radius > 0.0, "more than 0"),
        }
        for key, (holds, expected) in rules.items():
            if not holds:
                raise ValueError(f"data.cloud.{key}: expected {expected}, got {getattr(self, key)}.")

    @classmethod
    def from_settings(cls, settings: dict[str, Any], frame: str) -> "CloudProcessor":
        """Return the processor that a checkpoint describes; see :attr:`settings`."""
        points = {**settings["points"], "shares": tuple(settings["points"]["shares"])}  # JSON has lists only
        return cls(**{**settings, "points": PointChoice(**points)}, frame=frame)

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain containers; the frame is kept with the statistics of the poses."""
        points = {f.name: getattr(self.points, f.name) for f in fields(PointChoice)}
        names = ("num_points", "target_share", "crop_radius")
        return {**{name: getattr(self, name) for name in names}, "points": points}

    def __call__(
        self,
        points: Float[np.ndarray, "n 3"],
        object_mask: Bool[np.ndarray, "n"],
        *,
        viewpoint: Float[np.ndarray, "3"],
        up: Float[np.ndarray, "3"],
        rgb: UInt8[np.ndarray, "n 3"] | None,
        rng: np.random.Generator,
        T_cloud_object: Float[np.ndarray, "4 4"] | None = None,
        T_cloud_camera: Float[np.ndarray, "4 4"] | None = None,
        target_is_ordered: bool = False,
    ) -> PreparedCloud:
        """Prepare a cloud that is given in any metric frame, map coordinates included.

        Nothing but the target is told apart, and everything is centered in float64 before it is rounded to float32.

        Args:
            points: of the cloud (m), float32 or float64.
            object_mask: which of them belong to the target.
            viewpoint: camera center in the frame of the cloud.
            up: direction against gravity in the frame of the cloud, of any length.
            rgb: colors of the points, or None.
            rng: of points chosen at random; ``farthest`` uses none.
            T_cloud_object: pose of the target, for the frame ``object_centric``.
            T_cloud_camera: pose of the camera, for the camera's frames; None where the cloud is given in it.
            target_is_ordered: the target's points stand in farthest-point order, as in a store; saves half of the work.

        Raises:
            ValueError: the cloud is not one, has no point of the target or is too coarse for its coordinates; or the
                frame cannot be known from what is given.
        """
        check_cloud(points, object_mask, rgb)
        # Whole metres near the target: subtracting them is exact, and what follows does not depend on the map's origin.
        shift = np.rint(points[object_mask].mean(0, dtype=np.float64))
        near = np.asarray(points, dtype=np.float64) - shift
        index, is_target = select_points(
            near,
            object_mask,
            num_points=self.num_points,
            target_share=self.target_share,
            crop_radius=self.crop_radius,
            choice=self.points,
            rng=rng,
            target_is_ordered=target_is_ordered,
        )
        kept = near[index]
        eye = np.asarray(viewpoint, dtype=np.float64)
        if self.frame in CAMERA_MODES and T_cloud_camera is None:
            T_cloud_camera = own_camera(self.frame, eye)
        direction = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
        T = cloud_frame(
            self.frame,
            kept,
            is_target,
            up=direction,
            T_cloud_object=_moved(T_cloud_object, shift),
            T_cloud_camera=_moved(T_cloud_camera, shift),
        )
        R, t, n = T[:3, :3], T[:3, 3], self.num_points
        return PreparedCloud(
            scene_pc=_padded(((kept - t) @ R).astype(np.float32), n, 0),
            point_valid=_padded(np.ones(len(kept), dtype=bool), n, False),
            object_mask=_padded(is_target.copy(), n, False),
            viewpoint=((eye - shift - t) @ R).astype(np.float32),
            up=(direction @ R).astype(np.float32),
            scene_rgb=None if rgb is None else _padded(rgb[index], n, 0),
            T_cloud_frame=_moved(T, -shift),
            index=index,
        )


def _moved(T: Float[np.ndarray, "4 4"] | None, shift: Float[np.ndarray, "3"]) -> Any:
    """Return a pose with its origin measured from ``shift``."""
    if T is None:
        return None
    moved = np.array(T, dtype=np.float64)
    moved[:3, 3] -= shift
    return moved


def _padded(rows: np.ndarray, count: int, padding: Any) -> np.ndarray:
    """Return the rows and, behind them, as much padding as makes ``count``."""
    if len(rows) == count:
        return rows
    places = np.full((count, *rows.shape[1:]), padding, rows.dtype)
    places[: len(rows)] = rows
    return places
