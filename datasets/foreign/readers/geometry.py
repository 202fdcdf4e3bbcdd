"""Does what a file says make sense in space: do its hands hold its objects, do its depth images show them?

A wrong frame, joint order, quaternion order, unit or depth scale moves things by centimetres; a reader that took one
for granted would train a model on it.
"""

from dataclasses import replace

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float
from scipy.spatial import ConvexHull, cKDTree

from sceneleapultra.datasets.foreign.readers.base import Claims, Placed
from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.utils.records import ObjectRecord, View

_MAX_GAP_M = 0.03  # of the hand's surface to the object's, median over grasps
_MAX_DEPTH_M = 0.025  # of the hand's surface in the object
_MAX_OFF_M = 0.01  # of an object's measured points from its surface, median
_GRASPS = 24  # looked at, per object
_SURFACE = 2048


def check_grasps(hand: Hand, record: ObjectRecord, claims: Claims, where: str) -> None:
    """Make sure that hands lie on the object (both in the frame of its center of mass).

    Raises:
        ValueError: they are centimetres away or deep inside; says which misreading would put them right.
    """
    if len(claims) == 0:
        return
    some = np.linspace(0, len(claims) - 1, min(_GRASPS, len(claims))).astype(int)
    T, qpos = claims.T_object_base[some], claims.qpos[some]
    gap, depth = _gap_and_depth(hand, record, T, qpos)
    if gap <= _MAX_GAP_M and depth <= _MAX_DEPTH_M:
        return
    fits = []
    for words, other in _misreadings(T):
        g, d = _gap_and_depth(hand, record, other, qpos)
        if g <= _MAX_GAP_M and d <= _MAX_DEPTH_M:
            fits.append(words)
    hint = f" It would fit if {' or if '.join(fits)}." if fits else ""
    raise ValueError(
        f"{where}: the hand does not lie on object '{record.name}': its surface is {1e3 * gap:.0f} mm away and "
        f"{1e3 * depth:.0f} mm deep inside (medians of {len(some)} grasps; at most {1e3 * _MAX_GAP_M:.0f} and "
        f"{1e3 * _MAX_DEPTH_M:.0f} pass). The base, the joint order, the quaternion order, a unit or the object's pose "
        f"is not what this format says.{hint}"
    )


def _misreadings(T: Float[np.ndarray, "g 4 4"]) -> list[tuple[str, Float[np.ndarray, "g 4 4"]]]:
    """Return other readings of the same numbers, with their names."""
    from scipy.spatial.transform import Rotation

    swapped, transposed, turned = T.copy(), T.copy(), T.copy()
    wxyz = Rotation.from_matrix(T[:, :3, :3]).as_quat(scalar_first=True)
    swapped[:, :3, :3] = Rotation.from_quat(wxyz, scalar_first=False).as_matrix()
    transposed[:, :3, :3] = np.swapaxes(T[:, :3, :3], 1, 2)
    offset = np.eye(4)
    offset[:3, :3], offset[2, 3] = np.diag([1.0, -1.0, -1.0]), 0.1
    turned = T @ offset
    return [
        ("its quaternions were xyzw", swapped),
        ("its rotations were transposed", transposed),
        ("its poses were those of a mocap root (0.1 m and half a turn about x off the palm)", turned),
        ("they were those of the palm, not of a mocap root", T @ np.linalg.inv(offset)),
    ]


def _gap_and_depth(
    hand: Hand, record: ObjectRecord, T: Float[np.ndarray, "g 4 4"], qpos: Float[np.ndarray, "g j"]
) -> tuple[float, float]:
    """Return how far hands are from an object, and how deep in it: medians over the grasps (m)."""
    dtype = hand.joint_limits.dtype
    pose = GraspPose.from_matrix(torch.tensor(T, dtype=dtype), torch.tensor(qpos, dtype=dtype))
    points = hand.surface_points(pose, 256)[0].double().numpy()
    nearest = cKDTree(surface_sample(record)).query(points.reshape(-1, 3))[0].reshape(points.shape[:2])
    depth = np.zeros(points.shape[:2])
    for piece in record.pieces:
        planes = ConvexHull(piece).equations
        depth = np.maximum(depth, -(points @ planes[:, :3].T + planes[:, 3]).max(-1))
    return float(np.median(nearest.min(1))), float(np.median(depth.max(1)))


def surface_sample(record: ObjectRecord) -> Float[np.ndarray, "n 3"]:
    """Return points spread over an object's surface, the same for the same object."""
    mesh = trimesh.Trimesh(record.vertices, record.faces, process=False)
    return np.asarray(trimesh.sample.sample_surface(mesh, _SURFACE, seed=0)[0])


def check_view(
    view: View, placed: tuple[Placed, ...], records: tuple[ObjectRecord, ...], T: Float[np.ndarray, "k 4 4"]
) -> None:
    """Make sure that measured points of objects lie on their surfaces; ``T`` are the poses of the records.

    Raises:
        ValueError: they do not; says by how much the depths are off.
    """
    for i, (entry, record) in enumerate(zip(placed, records, strict=True)):
        points = view.points[view.instance == i + 1]
        if len(points) < 20:
            continue
        some = points[np.linspace(0, len(points) - 1, min(200, len(points))).astype(int)].astype(np.float64)
        surface = surface_sample(record) @ T[i, :3, :3].T + T[i, :3, 3]
        off = float(np.median(cKDTree(surface).query(some)[0]))
        if off > _MAX_OFF_M:
            eye = view.T_world_cam[:3, 3]
            ratio = np.median(np.linalg.norm(some - eye, axis=1)) / np.linalg.norm(T[i, :3, 3] - eye)
            raise ValueError(
                f"The measured points of object '{entry.name}' lie {1e3 * off:.0f} mm from its surface (median; at "
                f"most {1e3 * _MAX_OFF_M:.0f} pass), at {ratio:.3g} times its distance from the camera. Depths of "
                "another scale, or poses of another image? Pass reader.depth_unit_m=<metres per unit of the image>."
            )


def chosen(claims: Claims, rows: Bool[np.ndarray, "g"] | np.ndarray) -> Claims:
    """Return some of the grasps."""

    def rows_of(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    return replace(
        claims,
        T_object_base=claims.T_object_base[rows],
        qpos=claims.qpos[rows],
        outcome=claims.outcome[rows],
        pregrasp_qpos=rows_of(claims.pregrasp_qpos),
        squeeze_qpos=rows_of(claims.squeeze_qpos),
        wrist_motion=rows_of(claims.wrist_motion),
    )
