"""Where the frame of a cloud stands: the coordinate modes by name, for stored views and for clouds nobody has seen.

``tabletop``: z up, table at z = 0, origin below the mean of the target's visible points. ``object_centric``: the
object's own frame. ``camera_centric``: the camera's (x right, y down, z forward); with ``_obj_mean_normalized`` or
``_scene_mean_normalized`` its origin moved to the mean of the target's points or of all points of the cloud.
"""

import numpy as np
from jaxtyping import Bool, Float

from sceneleapultra.utils.core.names import unknown_name

CAMERA_MODES = (
    "camera_centric",
    "camera_centric_obj_mean_normalized",
    "camera_centric_scene_mean_normalized",
)
MODES = ("tabletop", "object_centric", *CAMERA_MODES)
_SLAB_M = 0.004  # thickness in which a table's points are looked for


def item_frame(
    mode: str,
    points: Float[np.ndarray, "n 3"],
    is_target: Bool[np.ndarray, "n"],
    T_world_cam: Float[np.ndarray, "4 4"],
    T_world_object: Float[np.ndarray, "4 4"] | None,
) -> Float[np.ndarray, "4 4"]:
    """Return ``T_world_frame`` of the points that were kept of a view (world frame).

    Raises:
        ValueError: no such mode, or the object's pose is needed and not given.
    """
    if mode == "object_centric":
        if T_world_object is None:
            raise ValueError("The frame object_centric needs the pose of the target object.")
        return T_world_object.copy()
    if mode in CAMERA_MODES:
        T = T_world_cam.copy()
        if mode == "camera_centric_obj_mean_normalized":
            T[:3, 3] = points[is_target].mean(0)
        elif mode == "camera_centric_scene_mean_normalized":
            T[:3, 3] = points.mean(0)
        return T
    if mode != "tabletop":
        raise unknown_name("data.frame", mode, MODES)
    T = np.eye(4)
    T[:2, 3] = points[is_target, :2].mean(0)
    return T


def cloud_frame(
    mode: str,
    points: Float[np.ndarray, "n 3"],
    is_target: Bool[np.ndarray, "n"],
    viewpoint: Float[np.ndarray, "3"],
    up: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "4 4"]:
    """Return ``T_cloud_frame``: the frame in which a model of this mode must be shown a cloud.

    ``tabletop``: the table's height is that of the thin level slab that holds most points beside the target. A turn
    about ``up`` is free there; the cloud's x axis stays as near as it can.

    Raises:
        ValueError: no such mode, or what the frame hangs on cannot be known from the cloud.
    """
    if mode == "object_centric":
        raise ValueError(
            "This model learned poses in the object's own frame (object_centric), which a cloud does not show. Train "
            "with another data.frame, or with model.representation=anchored, which needs none."
        )
    T = np.eye(4)
    if mode in CAMERA_MODES:
        if np.linalg.norm(viewpoint) > 1e-6:
            raise ValueError(
                f"This model learned poses in the camera's frame ({mode}), so it must be given the cloud in it: "
                f"viewpoint (0, 0, 0), got ({', '.join(f'{v:.3g}' for v in viewpoint)})."
            )
        return item_frame(mode, points, is_target, T, None)
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
    center = points[is_target].mean(0)
    T[:3, 3] = center + (height - center @ up) * up
    return T


def table_height(points: Float[np.ndarray, "n 3"], up: Float[np.ndarray, "3"]) -> float:
    """Return the height of the thin level slab that holds most points: the table top."""
    height = points @ up
    edges = np.arange(height.min(), height.max() + 2 * _SLAB_M, _SLAB_M)
    fullest = int(np.histogram(height, edges)[0].argmax())
    slab = (height >= edges[fullest]) & (height <= edges[fullest + 1])
    return float(np.median(height[slab]))
