"""What cannot be right in a scene record: shapes, numbers that are not finite, matrices that are no poses."""

from collections.abc import Iterator

import numpy as np

from sceneleapultra.datasets.store.schema import SPLITS
from sceneleapultra.utils.records import LabeledGrasps, ObjectRecord, Outcome, Scene, SceneRecord, View

_ROTATION_TOLERANCE = 1e-4


def record_problems(record: SceneRecord, num_joints: int) -> list[str]:
    """Return what is wrong with a record of a hand with ``num_joints`` joints, as phrases; empty for a sound one."""
    return list(_problems(record, num_joints))


def _problems(record: SceneRecord, num_joints: int) -> Iterator[str]:
    if record.split not in SPLITS:
        yield f"split '{record.split}' is none of {', '.join(SPLITS)}"
    objects = record.scene.objects
    yield from _scene_problems(record.scene)
    for entry in objects:
        yield from _object_problems(entry)
    for i, view in enumerate(record.views):
        yield from (f"view {i}: {problem}" for problem in _view_problems(view, len(objects)))
    if len(record.labeled) != len(objects):
        yield f"{len(record.labeled)} sets of grasps for {len(objects)} objects"
    for i, labeled in enumerate(record.labeled):
        yield from (f"grasps of object {i}: {problem}" for problem in _grasp_problems(labeled, num_joints))


def _scene_problems(scene: Scene) -> Iterator[str]:
    T = scene.T_world_object
    if not scene.objects:
        yield "no object"
    if T.shape != (len(scene.objects), 4, 4):
        yield f"T_world_object has shape {T.shape} for {len(scene.objects)} objects"
    elif not _are_poses(T):
        yield "T_world_object holds a matrix that is no rigid motion"


def _object_problems(entry: ObjectRecord) -> Iterator[str]:
    if not all(np.isfinite(a).all() for a in (entry.vertices, *entry.pieces)):
        yield f"object '{entry.name}' has vertices that are not finite"
    if not entry.pieces:
        yield f"object '{entry.name}' has no convex piece"
    if len(entry.faces) and not 0 <= entry.faces.min() <= entry.faces.max() < len(entry.vertices):
        yield f"object '{entry.name}' has faces of vertices that do not exist"
    if entry.piece_part is not None and len(entry.piece_part) != len(entry.pieces):
        yield f"object '{entry.name}' has {len(entry.piece_part)} names for {len(entry.pieces)} pieces"
    if not entry.mass > 0:
        yield f"object '{entry.name}' has mass {entry.mass}"


def _view_problems(view: View, num_objects: int) -> Iterator[str]:
    if not _are_poses(view.T_world_cam[None]):
        yield "T_world_cam is no rigid motion"
    if not len(view.points) == len(view.rgb) == len(view.instance):
        yield f"{len(view.points)} points, {len(view.rgb)} colors, {len(view.instance)} instances"
        return
    if not np.isfinite(view.points).all():
        yield "points that are not finite"
    if len(view.instance) and view.instance.max() > num_objects:
        yield f"instance {view.instance.max()} with {num_objects} objects"
    if (np.diff(view.instance.astype(np.int16)) < 0).any():
        yield "points not in blocks by instance"


def _grasp_problems(labeled: LabeledGrasps, num_joints: int) -> Iterator[str]:
    grasps, n = labeled.grasps, len(labeled.grasps)
    expected = {
        "hand_pose": (n, 3 + num_joints + 4),
        "pregrasp_qpos": (n, num_joints),
        "squeeze_qpos": (n, num_joints),
    }
    for name, shape in expected.items():
        values = getattr(grasps, name)
        if values.shape != shape:
            yield f"{name} has shape {values.shape}, expected {shape}"
            return
        unknown = name != "hand_pose" and np.isnan(values).all()
        if not (unknown or np.isfinite(values).all()):
            yield f"{name} has values that are not finite"
    if any(len(getattr(labeled, name)) != n for name in ("success", "direction_success", "outcome")):
        yield "verdicts and grasps differ in number"
        return
    if (np.abs(np.linalg.norm(grasps.hand_pose[:, -4:], axis=-1) - 1.0) > _ROTATION_TOLERANCE).any():
        yield "quaternions that are not of unit length"
    if (labeled.success != np.isin(labeled.outcome, (Outcome.SUCCESS, Outcome.CLAIMED))).any():
        yield "success and outcome contradict each other"
    if ((labeled.outcome == Outcome.SUCCESS) & ~labeled.direction_success.all(-1)).any():
        yield "successes that failed in a direction"
    if (labeled.robustness < 0).any() or (labeled.robustness > 1).any():
        yield "robustness outside 0 to 1"


def _are_poses(T: np.ndarray) -> bool:
    """Tell whether all are rotations with a translation."""
    if not np.isfinite(T).all():
        return False
    R = T[:, :3, :3]
    orthonormal = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max(initial=0.0) < _ROTATION_TOLERANCE
    last_row = np.abs(T[:, 3] - [0.0, 0.0, 0.0, 1.0]).max(initial=0.0) < _ROTATION_TOLERANCE
    return bool(orthonormal and last_row and (np.linalg.det(R) > 0).all())
