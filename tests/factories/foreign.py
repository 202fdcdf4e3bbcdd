"""Writes small folders as other people's programs would, from scenes of ours; with formulas of its own."""

import json
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from sceneleapultra.datasets import GraspStore
from sceneleapultra.utils.records import LabeledGrasps, ObjectRecord, SceneRecord

# LEAP's URDF names of our joints, in our order: the index finger's mcp is the URDF's joint 1, its rot joint 0.
URDF_NAMES = [1, 0, 2, 3, 5, 4, 6, 7, 9, 8, 10, 11, 12, 13, 14, 15]


def object_with_grasps(store: GraspStore) -> tuple[ObjectRecord, np.ndarray, LabeledGrasps]:
    """The first object with at least three grasps, where it lies, and the grasps."""
    for row in range(store.num_scenes):
        record = store.record(row)
        for i, labeled in enumerate(record.labeled):
            if len(labeled.grasps) >= 3:
                return record.scene.objects[i], record.scene.T_world_object[i], labeled
    raise AssertionError("the generator made too few grasps")


def in_object(T_world_object: np.ndarray, labeled: LabeledGrasps) -> tuple[np.ndarray, np.ndarray]:
    """Poses of the palm in the object's frame, and joints."""
    pose = labeled.grasps.hand_pose.astype(float)
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


def chosen(store: GraspStore, many: bool) -> list[tuple[str, int, ObjectRecord, np.ndarray, LabeledGrasps]]:
    """One object, called a box; or every object with grasps, by its family."""
    if not many:
        return [("box", 0, *object_with_grasps(store))]
    found = []
    for record in map(store.record, range(store.num_scenes)):
        for entry, T, labeled in zip(
            record.scene.objects, record.scene.T_world_object, record.labeled, strict=True
        ):
            if len(labeled.grasps):
                found.append((entry.family, len(found), entry, T, labeled))
    return found


def objectcentric(root: Path, store: GraspStore, many: bool = False) -> None:
    (root / "grasps").mkdir(parents=True)
    for family, i, entry, T, labeled in chosen(store, many):
        palm, qpos = in_object(T, labeled)
        quat = Rotation.from_matrix(T[:3, :3]).as_quat(scalar_first=True)
        rows = mocap_qpos(T @ palm, qpos)
        padded = np.concatenate([rows, np.zeros((2, rows.shape[1]))])  # padding is no grasp
        name = f"{family}_{i}f"
        np.save(root / f"grasps/{name}.npy", {"grasp_qpos": padded, "obj_pose": np.r_[T[:3, 3], quat]})
        write_mesh(root / f"objects/{name}/mesh/simplified.obj", entry, 0.1)
        write_pieces(root / f"objects/{name}/urdf/meshes", "convex_piece_{:03d}.obj", entry, 0.1)


def dexgraspnet(root: Path, store: GraspStore, many: bool = False) -> None:
    names = ["if_mcp", "if_rot", "if_pip", "if_dip", "mf_mcp", "mf_rot", "mf_pip", "mf_dip"]
    names += ["rf_mcp", "rf_rot", "rf_pip", "rf_dip", "th_cmc", "th_axl", "th_mcp", "th_ipl"]
    wrist_names = ["WRJTx", "WRJTy", "WRJTz", "WRJRx", "WRJRy", "WRJRz"]
    (root / "dexgraspnet").mkdir(parents=True)
    for family, i, entry, T, labeled in chosen(store, many):
        palm, qpos = in_object(T, labeled)
        records = []
        for pose, q in zip(palm, qpos, strict=True):
            R = pose[:3, :3]  # R = Rz(c) Ry(b) Rx(a)
            a, c = np.arctan2(R[2, 1], R[2, 2]), np.arctan2(R[1, 0], R[0, 0])
            b = np.arctan2(-R[2, 0], np.hypot(R[2, 1], R[2, 2]))
            wrist = dict(zip(wrist_names, [*pose[:3, 3], a, b, c], strict=True))
            joints = dict(zip(names, q, strict=True))
            records.append({"qpos": dict(reversed((wrist | joints).items())), "scale": 0.08})
        name = f"core-{family}-1a2b{i}"
        np.save(root / f"dexgraspnet/{name}.npy", np.array(records, dtype=object))
        folder = root / f"meshdata/{name}/coacd"
        write_mesh(folder / "decomposed.obj", entry, 0.08)
        write_pieces(folder, "coacd_convex_piece_{}.obj", entry, 0.08)


def multidex(root: Path, store: GraspStore, form: str, many: bool = False) -> None:
    """Y = R (x + t): the hand turned after it was moved."""
    entries = []
    for family, i, entry, T, labeled in chosen(store, many):
        palm, qpos = in_object(T, labeled)
        R, moved = palm[:, :3, :3], (np.swapaxes(palm[:, :3, :3], 1, 2) @ palm[:, :3, 3, None])[..., 0]
        name = f"{family}_{i}"
        for arrays in zip(R, moved, qpos, strict=True):
            r, t, q = (torch.tensor(np.ascontiguousarray(x), dtype=torch.float64) for x in arrays)
            if form == "tuple":
                entries.append((torch.cat([t, r[:2].flatten(), q]), r.T, f"contactdb+{name}"))
            else:
                values = {"translations": t, "rotations": r, "joint_positions": q}
                entries.append({"object_name": f"contactdb+{name}", **values})
        write_mesh(root / f"object/contactdb/{name}/{name}.stl", entry)
    (root / "shadowhand").mkdir(parents=True)
    torch.save(
        {"info": {"robot_name": "leap"}, "metadata": entries}, root / "shadowhand/shadowhand_downsample.pt"
    )


def dexgraspnet2(root: Path, store: GraspStore) -> None:
    """Scenes under their two views, taken as views 0 and 1 of GraspNet scenes whose world is the table."""
    for row in range(store.num_scenes):
        _graspnet_scene(root, f"scene_{row:04d}", store.record(row))


def _graspnet_scene(root: Path, name: str, record: SceneRecord) -> None:
    folder = root / f"scenes/{name}/realsense"
    cameras = [view.T_world_cam for view in record.views]
    for images in ("depth", "label", "annotations"):
        (folder / images).mkdir(parents=True, exist_ok=True)
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
        label[w, u] = np.where(
            view.instance > 0, view.instance + 4 + 10 * record.index, 0
        )  # objects 4, ...: labels 5, ...
        Image.fromarray(depth).save(folder / f"depth/{v:04d}.png")
        Image.fromarray(label).save(folder / f"label/{v:04d}.png")
        lines = []
        for i, T in enumerate(record.scene.T_world_object):
            pose = T_cam_world @ T
            quat = Rotation.from_matrix(pose[:3, :3]).as_quat(scalar_first=True)
            place = " ".join(map(repr, pose[:3, 3].tolist())), " ".join(map(repr, quat.tolist()))
            lines.append(
                f"<obj><obj_id>{10 * record.index + i + 4}</obj_id><pos_in_world>{place[0]}</pos_in_world>"
                f"<ori_in_world>{place[1]}</ori_in_world></obj>"
            )
        (folder / f"annotations/{v:04d}.xml").write_text(f"<scene>{''.join(lines)}</scene>")
    for i, (entry, T, labeled) in enumerate(
        zip(record.scene.objects, record.scene.T_world_object, record.labeled, strict=True)
    ):
        number = 10 * record.index + i + 4
        palm, qpos = in_object(T, labeled)
        palm = np.linalg.inv(cameras[0]) @ T @ palm
        grasps = root / f"dex_grasps_new/{name}/leap_hand/{number:03d}.npz"
        grasps.parent.mkdir(parents=True, exist_ok=True)
        joints = {f"j{n}": qpos[:, k] for k, n in enumerate(URDF_NAMES)}
        np.savez(grasps, translation=palm[:, :3, 3], rotation=palm[:, :3, :3], point=palm[:, :3, 3], **joints)
        write_mesh(root / f"meshdata/{number:03d}/simplified.obj", entry)


def rewrite_json(path: Path, change) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
