"""A small folder of every foreign format, written from scenes of ours."""

from pathlib import Path

import h5py
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from factories import foreign
from sceneleapultra.datasets import GraspStore
from sceneleapultra.datasets.foreign.exporters import EXPORTERS
from sceneleapultra.hands import GraspPose, load_hand

HAND = load_hand("leap_right")
# Who writes the folder, what small folders need besides data.root, and the splits that are judged.
FORMATS = {
    "sceneleapplus": (
        lambda root, store: EXPORTERS["sceneleapplus"](store, HAND, root, lambda _: None),
        "scene",
    ),
    "sceneleappro": (
        lambda root, store: EXPORTERS["sceneleapplus"](store, HAND, root, lambda _: None),
        "scene",
    ),
    "bodex": (lambda root, store: EXPORTERS["bodex"](store, HAND, root, lambda _: None), "category"),
    "objectcentric": (lambda root, store: foreign.objectcentric(root, store, many=True), "category"),
    "dexgraspnet": (lambda root, store: foreign.dexgraspnet(root, store, many=True), "category"),
    "multidex": (lambda root, store: foreign.multidex(root, store, "tuple", many=True), "category"),
    "dexgraspnet2": (foreign.dexgraspnet2, "scene"),
}

OVERRIDES = {"dexgraspnet2": ["reader.views=[0,1]"]}


def write_source(name: str, root: Path, generated: GraspStore) -> None:
    if name in FORMATS:
        FORMATS[name][0](root, generated)
        return
    record = generated.record(0)
    target = int(np.argmax([len(j.grasps) for j in record.labeled]))
    root.mkdir()
    write_cache(root / "sceneleappro_ab_camera_centric_64.h5", record, target, chunk=3)


def distances(entry, T_world_object, labeled) -> np.ndarray:
    """Signed distance of every vertex of an object to the hand of every grasp."""
    vertices = entry.vertices @ T_world_object[:3, :3].T + T_world_object[:3, 3]
    pose = GraspPose.from_hand_pose(torch.from_numpy(labeled.grasps.hand_pose))
    return HAND.signed_distance(torch.from_numpy(vertices.astype(np.float32)), pose).numpy()


def write_cache(path: Path, record, target: int, chunk: int, **changes) -> int:
    """Items of one target in both views: chunks of so many grasps, the last one filled up with zeros."""
    labeled = record.labeled[target]
    entry, T = record.scene.objects[target], record.scene.T_world_object[target]
    count = 0
    with h5py.File(path, "w") as file:
        for view in record.views:
            C = np.linalg.inv(view.T_world_cam)
            T_cam = C @ T
            palm, qpos = foreign.in_object(T, labeled)
            palm = T_cam @ palm
            quat = Rotation.from_matrix(palm[:, :3, :3]).as_quat(scalar_first=True)
            rows = np.concatenate([palm[:, :3, 3], qpos, quat], axis=1)
            points = np.c_[view.points @ C[:3, :3].T + C[:3, 3], view.rgb / 255.0]
            for start in range(0, len(rows), chunk):
                part = rows[start : start + chunk]
                item = {
                    "scene_pc": np.pad(points, ((0, 7), (0, 0))).astype(np.float32),
                    "object_mask": np.pad(view.instance == target + 1, (0, 7)),
                    "hand_model_pose": np.pad(part, ((0, chunk - len(part)), (0, 0))).astype(np.float32),
                    "obj_verts": (entry.vertices @ T_cam[:3, :3].T + T_cam[:3, 3]).astype(np.float32),
                    "obj_faces": entry.faces,
                    "is_error": False,
                    **changes,
                }
                for name, value in item.items():
                    if value is not None:
                        file[f"{count}/{name}"] = value
                count += 1
        file["99/is_error"] = True
    return count
