"""What a view of a store becomes: the cloud about a target, prepared as any cloud is, and its place in the world."""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from sceneleapultra.utils.batch import OTHER_CLASS, TABLE_CLASS, TARGET_CLASS, UNKNOWN_CLASS
from sceneleapultra.utils.geometry.cloud import CloudInput, CloudProcessor
from sceneleapultra.utils.records import View

_INPUT_FIELDS = tuple(f.name for f in fields(CloudInput))
_WORLD_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class ItemCloud(CloudInput):
    """The cloud of an item in its frame, what its points belong to, and where the frame is."""

    point_class: UInt8[np.ndarray, "n"]
    T_world_frame: Float[np.ndarray, "4 4"]
    frame_from_world: Float[np.ndarray, "7"]  # the inverse of T_world_frame: translation and quaternion wxyz


def build_cloud(
    view: View,
    target: int,
    processor: CloudProcessor,
    rng: np.random.Generator,
    *,
    colors: bool,
    T_world_object: Float[np.ndarray, "4 4"] | None = None,
) -> ItemCloud:
    """Prepare the cloud of a view about a target, whose pose the frame ``object_centric`` needs.

    Only point samplers other than ``farthest`` use ``rng``.

    Raises:
        ValueError: no point of the target is visible, or points that are no numbers.
    """
    mask = view.instance == target + 1
    if not mask.any():
        raise ValueError(f"Object {target} has no visible point; an item needs one. Raise data.min_points.")
    prepared = processor(
        view.points,
        mask,
        viewpoint=view.T_world_cam[:3, 3],
        up=_WORLD_UP,
        rgb=view.rgb if colors else None,
        rng=rng,
        T_cloud_object=T_world_object,
        T_cloud_camera=view.T_world_cam,
        target_is_ordered=True,  # as the schema of stores says
    )
    R, t = prepared.T_cloud_frame[:3, :3], prepared.T_cloud_frame[:3, 3]
    others = np.where(view.instance == 0, TABLE_CLASS, OTHER_CLASS)
    point_class = np.where(mask, TARGET_CLASS, others).astype(np.uint8)
    return ItemCloud(
        **{name: getattr(prepared, name) for name in _INPUT_FIELDS},
        point_class=prepared.column(point_class, UNKNOWN_CLASS),
        T_world_frame=prepared.T_cloud_frame.astype(np.float32),
        frame_from_world=np.concatenate([-t @ R, _quat_wxyz(R.T.tobytes())], dtype=np.float32),
    )


@lru_cache(maxsize=1024)  # the frames of a view's items are turned alike, and in the mode tabletop not at all
def _quat_wxyz(rotation: bytes) -> Float[np.ndarray, "4"]:
    return Rotation.from_matrix(np.frombuffer(rotation).reshape(3, 3)).as_quat(scalar_first=True)
