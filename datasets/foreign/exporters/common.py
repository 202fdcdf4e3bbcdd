"""What every foreign folder needs: object files, and grasps whose base is that of DexGraspBench's MJCF."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from sceneleapultra.datasets.foreign.readers.frames import DEXGRASPBENCH_BASES, inverse, joined, stored_base
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import Grasps, ObjectRecord


def new_folder(dest: Path) -> Path:
    """Make the folder to export to.

    Raises:
        FileExistsError: there is something already.
    """
    if dest.exists() and any(dest.iterdir()):
        raise FileExistsError(f"{dest} is not empty. Remove it, or name another folder.")
    dest.mkdir(parents=True, exist_ok=True)
    return dest


def write_object(folder: Path, record: ObjectRecord, scale: float) -> None:
    """Write mesh/simplified.obj, urdf/meshes/convex_piece_*.obj and info/simplified.json (DexGraspBench's layout).

    ``scale`` is metres per unit of the files.
    """
    _write_obj(folder / "mesh/simplified.obj", record.vertices / scale, record.faces)
    for i, piece in enumerate(record.pieces):
        hull = ConvexHull(piece)
        outward = np.einsum(
            "fi,fi->f",
            np.cross(*(piece[hull.simplices[:, k]] - piece[hull.simplices[:, 0]] for k in (1, 2))),
            hull.equations[:, :3],
        )
        faces = np.where(outward[:, None] > 0, hull.simplices, hull.simplices[:, ::-1])
        _write_obj(folder / f"urdf/meshes/convex_piece_{i:03d}.obj", piece / scale, faces)
    volume = sum(ConvexHull(piece).volume for piece in record.pieces)
    info = {"mass": record.mass, "density": record.mass / volume, "scale": scale}
    (folder / "info").mkdir(parents=True, exist_ok=True)
    (folder / "info/simplified.json").write_text(json.dumps(info) + "\n")


def _write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (np.asarray(faces) + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")


def foreign_poses(
    grasps: Grasps, hand: Hand, T_target_world: Float[np.ndarray, "4 4"]
) -> dict[str, Float[np.ndarray, "n q"]]:
    """Return {pregrasp,grasp,squeeze}_qpos as [m, quaternion wxyz, joints] in another frame, without unknown joints."""
    n = len(grasps)
    R = Rotation.from_quat(grasps.hand_pose[:, -4:].astype(np.float64), scalar_first=True).as_matrix()
    T = T_target_world @ joined(R, grasps.hand_pose[:, :3].astype(np.float64))
    T = T @ inverse(stored_base(hand, None, DEXGRASPBENCH_BASES))
    quat = Rotation.from_matrix(T[:, :3, :3]).as_quat(scalar_first=True)
    joints = {
        "pregrasp_qpos": grasps.pregrasp_qpos,
        "grasp_qpos": grasps.hand_pose[:, 3:-4],
        "squeeze_qpos": grasps.squeeze_qpos,
    }
    return {
        name: np.concatenate([T[:, :3, 3], quat, qpos], axis=1)
        for name, qpos in joints.items()
        if n == 0 or not np.isnan(qpos).any()
    }


def as_vector(T: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "7"]:
    """Return [m, quaternion wxyz] of a pose."""
    return np.concatenate([T[:3, 3], Rotation.from_matrix(T[:3, :3]).as_quat(scalar_first=True)])
