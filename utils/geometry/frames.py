"""Where the frame of a cloud stands: the coordinate modes by name, for stored views and any other cloud.

``tabletop``: z up, table at z = 0, origin below the mean of the target's visible points. The table's height is that of
the thin level slab that holds most of the points that do not belong to the target; a turn about ``up`` is free, and the
cloud's x axis stays as near as it can. ``object_centric``: the object's own frame. ``camera_centric``: the camera's
(x right, y down, z forward); with ``_obj_mean_normalized`` or ``_scene_mean_normalized`` its origin moved to the mean
of the target's points or of all points of the cloud.
"""

import numpy as np
from jaxtyping import Bool, Float

CAMERA_MODES = (
    "camera_centric",
    "camera_centric_obj_mean_normalized",
    "camera_centric_scene_mean_normalized",
)
MODES = ("tabletop", "object_centric", *CAMERA_MODES)
# World axes about the target: for models that read a cloud relative to itself, where no other frame is known.
TARGET_CENTERED = "target_centered"
_AT_ORIGIN_M = 1e-6  # a viewpoint so near to the origin is the camera's own
_SLAB_M = 0.004  # thickness in which a table's points are looked for


def cloud_frame(
    mode: str,
    points: Float[np.ndarray, "n 3"],
    is_target: Bool[np.ndarray, "n"],
    *,
    up: Float[np.ndarray, "3"],
    T_cloud_object: Float[np.ndarray, "4 4"] | None,
    T_cloud_camera: Float[np.ndarray, "4 4"] | None,
) -> Float[np.ndarray, "4 4"]:
    """Return ``T_cloud_frame`` of the points that were kept of a cloud.

    Args:
        mode: one of ``MODES``, or ``TARGET_CENTERED``.
        points: that were kept (m).
        is_target: which of them belong to the target.
        up: unit vector against gravity.
        T_cloud_object: pose of the target; ``object_centric`` needs it.
        T_cloud_camera: pose of the camera; the camera's frames need it, see :func:`own_camera`.

    Raises:
        ValueError: no such mode, or it needs a pose that is not given.
    """
    if mode == "object_centric":
        if T_cloud_object is None:
            raise ValueError(
                "This model learned poses in the object's own frame (object_centric), which a cloud does not show. "
                "Pass T_cloud_object, the pose of the object; or train with another data.cloud.frame, or with "
                "model.generator.representation.anchored=true, which needs none."
            )
        return T_cloud_object.copy()
    if mode in CAMERA_MODES:
        if T_cloud_camera is None:
            raise ValueError(f"The frame {mode} needs T_cloud_camera, the pose of the camera.")
        T = T_cloud_camera.copy()
        if mode == "camera_centric_obj_mean_normalized":
            T[:3, 3] = points[is_target].mean(0)
        elif mode == "camera_centric_scene_mean_normalized":
            T[:3, 3] = points.mean(0)
        return T
    T = np.eye(4)
    center = points[is_target].mean(0)
    if mode == TARGET_CENTERED:
        T[:3, 3] = center
        return T
    if mode != "tabletop":
        raise ValueError(
            f"This model has no coordinate mode ('{mode}'): was it trained? Modes are {', '.join(MODES)}."
        )
    rest = points[~is_target]
    height = table_height(rest, up) if len(rest) else float((points @ up).min())
    x = np.eye(3)[0 if abs(up[0]) < 0.9 else 1]
    x = x - (x @ up) * up
    x /= np.linalg.norm(x)
    T[:3, :3] = np.stack([x, np.cross(up, x), up], axis=1)
    T[:3, 3] = center + (height - center @ up) * up
    return T


def own_camera(mode: str, viewpoint: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """Return ``T_cloud_camera`` of a cloud that is given in its camera's frame: the identity.

    Raises:
        ValueError: the viewpoint says that it is not.
    """
    if np.linalg.norm(viewpoint) > _AT_ORIGIN_M:
        raise ValueError(
            f"This model learned poses in the camera's frame ({mode}), so it must be given the cloud in it: "
            f"viewpoint (0, 0, 0), got ({', '.join(f'{v:.3g}' for v in viewpoint)})."
        )
    return np.eye(4)


def frame_is_known(mode: str, viewpoint: Float[np.ndarray, "3"], *, has_object_pose: bool) -> bool:
    """Return whether a cloud seen from ``viewpoint`` shows the frame of a mode."""
    if mode in CAMERA_MODES:
        return float(np.linalg.norm(viewpoint)) <= _AT_ORIGIN_M
    return mode == "tabletop" or (mode == "object_centric" and has_object_pose)


def table_height(points: Float[np.ndarray, "n 3"], up: Float[np.ndarray, "3"]) -> float:
    """Return the height of the thin level slab that holds most points: the table top."""
    height = points @ up
    edges = np.arange(height.min(), height.max() + 2 * _SLAB_M, _SLAB_M)
    fullest = int(np.histogram(height, edges)[0].argmax())
    slab = (height >= edges[fullest]) & (height <= edges[fullest + 1])
    return float(np.median(height[slab]))
