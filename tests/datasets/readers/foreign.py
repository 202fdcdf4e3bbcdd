"""Writes small folders as other people's programs would, from scenes of ours; with formulas of its own."""

import json
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from datasets import GraspStore
from utils.records import JudgedGrasps, ObjectRecord

# LEAP's URDF names of our joints, in our order: the index finger's mcp is the URDF's joint 1, its rot joint 0.
URDF_NAMES = [1, 0, 2, 3, 5, 4, 6, 7, 9, 8, 10, 11, 12, 13, 14, 15]


def object_with_grasps(store: GraspStore) -> tuple[ObjectRecord, np.ndarray, JudgedGrasps]:
    """The first object with at least three grasps, where it lies, and the grasps."""
    for row in range(store.num_scenes):
        record = store.record(row)
        for i, judged in enumerate(record.judged):
            if len(judged.grasps) >= 3:
                return record.scene.objects[i], record.scene.T_world_object[i], judged
    raise AssertionError("the generator made too few grasps")


def in_object(T_world_object: np.ndarray, judged: JudgedGrasps) -> tuple[np.ndarray, np.ndarray]:
    """Poses of the palm in the object's frame, and joints."""
    pose = judged.grasps.hand_pose.astype(float)
    T = np.tile(np.eye(4), (len(pose), 1, 1))
    T[:, :3, :3] = Rotation.from_quat(pose[:, -4:], scalar_first=True).as_matrix()
    T[:, :3, 3] = pose[:, :3]
    return np.linalg.inv(T_world_object) @ T, pose[:, 3:-4]


def write_mesh(path: Path, entry: ObjectRecord, scale: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.Trimesh(entry.vertices / scale, entry.faces, process=False).export(path)


def write_pieces(folder: Path, pattern: str, entry: ObjectRecord, scale: float = 1.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, piece in enumerate(entry.pieces):
        trimesh.convex.convex_hull(np.asarray(piece, float) / scale).export(folder / pattern.format(i))


def mocap_qpos(T: np.ndarray, qpos: np.ndarray) -> np.ndarray:
    """As DexGraspBench stores them: the palm hangs 0.1 m above a mocap root, half a turn about x."""
    X = np.eye(4)
    X[:3, :3], X[2, 3] = Rotation.from_euler("x", np.pi).as_matrix(), 0.1
    root = T @ np.linalg.inv(X)
    quat = Rotation.from_matrix(root[:, :3, :3]).as_quat(scalar_first=True)
    return np.concatenate([root[:, :3, 3], quat, qpos], axis=1)


def objectcentric(root: Path, store: GraspStore) -> None:
    entry, T, judged = object_with_grasps(store)
    palm, qpos = in_object(T, judged)
    quat = Rotation.from_matrix(T[:3, :3]).as_quat(scalar_first=True)
    rows = mocap_qpos(T @ palm, qpos)
    padded = np.concatenate([rows, np.zeros((2, rows.shape[1]))])  # padding is no grasp
    (root / "grasps").mkdir(parents=True)
    np.save(root / "grasps/box_1f.npy", {"grasp_qpos": padded, "obj_pose": np.r_[T[:3, 3], quat]})
    write_mesh(root / "objects/box_1f/mesh/simplified.obj", entry, 0.1)
    write_pieces(root / "objects/box_1f/urdf/meshes", "convex_piece_{:03d}.obj", entry, 0.1)


def dexgraspnet(root: Path, store: GraspStore) -> None:
    entry, T, judged = object_with_grasps(store)
    palm, qpos = in_object(T, judged)
    names = ["if_mcp", "if_rot", "if_pip", "if_dip", "mf_mcp", "mf_rot", "mf_pip", "mf_dip"]
    names += ["rf_mcp", "rf_rot", "rf_pip", "rf_dip", "th_cmc", "th_axl", "th_mcp", "th_ipl"]
    records = []
    for pose, q in zip(palm, qpos, strict=True):
        R = pose[:3, :3]  # R = Rz(c) Ry(b) Rx(a)
        a, c = np.arctan2(R[2, 1], R[2, 2]), np.arctan2(R[1, 0], R[0, 0])
        b = np.arctan2(-R[2, 0], np.hypot(R[2, 1], R[2, 2]))
        wrist = dict(
            zip(["WRJTx", "WRJTy", "WRJTz", "WRJRx", "WRJRy", "WRJRz"], [*pose[:3, 3], a, b, c], strict=True)
        )
        records.append(
            {
                "qpos": dict(reversed(list({**wrist, **dict(zip(names, q, strict=True))}.items()))),
                "scale": 0.08,
            }
        )
    (root / "dexgraspnet").mkdir(parents=True)
    np.save(root / "dexgraspnet/core-bottle-1a2b.npy", np.array(records, dtype=object))
    folder = root / "meshdata/core-bottle-1a2b/coacd"
    write_mesh(folder / "decomposed.obj", entry, 0.08)
    write_pieces(folder, "coacd_convex_piece_{}.obj", entry, 0.08)


def multidex(root: Path, store: GraspStore, form: str) -> None:
    """Y = R (x + t): the hand turned after it was moved."""
    entry, T, judged = object_with_grasps(store)
    palm, qpos = in_object(T, judged)
    R, moved = palm[:, :3, :3], (np.swapaxes(palm[:, :3, :3], 1, 2) @ palm[:, :3, 3, None])[..., 0]
    entries = []
    for rotation, t, q in zip(R, moved, qpos, strict=True):
        r, t, q = (torch.tensor(np.ascontiguousarray(x), dtype=torch.float64) for x in (rotation, t, q))
        if form == "tuple":
            entries.append((torch.cat([t, r[:2].flatten(), q]), r.T, "contactdb+box"))
        else:
            entries.append(
                {"object_name": "contactdb+box", "translations": t, "rotations": r, "joint_positions": q}
            )
    (root / "shadowhand").mkdir(parents=True)
    info = {"robot_name": "leap", "num_per_object": {"contactdb+box": len(entries)}}
    torch.save({"info": info, "metadata": entries}, root / "shadowhand/shadowhand_downsample.pt")
    write_mesh(root / "object/contactdb/box/box.stl", entry)


def dexgraspnet2(root: Path, store: GraspStore) -> None:
    """Scene 0 under its two views, taken as views 0 and 1 of a GraspNet scene whose world is the table."""
    record = store.record(0)
    folder = root / "scenes/scene_0000/realsense"
    cameras = [view.T_world_cam for view in record.views]
    for name in ("depth", "label", "annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    np.save(folder / "cam0_wrt_table.npy", cameras[0])
    np.save(folder / "camera_poses.npy", np.stack([np.linalg.inv(cameras[0]) @ T for T in cameras]))
    np.save(folder / "camK.npy", record.views[0].K)
    for v, view in enumerate(record.views):
        T_cam_world = np.linalg.inv(view.T_world_cam)
        points = view.points @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
        u, w = (
            np.rint(view.K[k, k] * points[:, k] / points[:, 2] + view.K[k, 2]).astype(int) for k in (0, 1)
        )
        depth, label = np.zeros((300, 400), np.uint16), np.zeros((300, 400), np.uint8)
        depth[w, u] = np.rint(1000 * points[:, 2])
        label[w, u] = np.where(view.instance > 0, view.instance + 4, 0)  # objects 4, 5, ...: label 5, 6, ...
        Image.fromarray(depth).save(folder / f"depth/{v:04d}.png")
        Image.fromarray(label).save(folder / f"label/{v:04d}.png")
        lines = []
        for i, T in enumerate(record.scene.T_world_object):
            pose = T_cam_world @ T
            quat = Rotation.from_matrix(pose[:3, :3]).as_quat(scalar_first=True)
            place = " ".join(map(repr, pose[:3, 3].tolist())), " ".join(map(repr, quat.tolist()))
            lines.append(
                f"<obj><obj_id>{i + 4}</obj_id><pos_in_world>{place[0]}</pos_in_world>"
                f"<ori_in_world>{place[1]}</ori_in_world></obj>"
            )
        (folder / f"annotations/{v:04d}.xml").write_text(f"<scene>{''.join(lines)}</scene>")
    for i, (entry, T, judged) in enumerate(
        zip(record.scene.objects, record.scene.T_world_object, record.judged, strict=True)
    ):
        palm, qpos = in_object(T, judged)
        palm = np.linalg.inv(cameras[0]) @ T @ palm
        grasps = root / f"dex_grasps_new/scene_0000/leap_hand/{i + 4:03d}.npz"
        grasps.parent.mkdir(parents=True, exist_ok=True)
        joints = {f"j{n}": qpos[:, k] for k, n in enumerate(URDF_NAMES)}
        np.savez(grasps, translation=palm[:, :3, 3], rotation=palm[:, :3, :3], point=palm[:, :3, 3], **joints)
        write_mesh(root / f"meshdata/{i + 4:03d}/simplified.obj", entry)


def rewrite_json(path: Path, change) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
