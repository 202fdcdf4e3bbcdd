"""How a store is written in the layout of the predecessor: :mod:`..readers.sceneleap` draws it.

A stored view keeps some pixels of its depth image; the others are written as not measured. Grasps that collide in
their scene are written and not listed as free; other failures the format cannot hold.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sceneleapultra.datasets.foreign.exporters.common import (
    as_vector,
    foreign_poses,
    new_folder,
    write_object,
)
from sceneleapultra.datasets.foreign.readers.frames import inverse
from sceneleapultra.datasets.store.store import GraspStore
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import Grasps, Outcome, SceneRecord, View

DEPTH_SCALE = 10.0  # a unit of the depth image is 0.1 mm
MESH_SCALE = 0.1  # metres per unit of the meshes, as the predecessor has them
_FIRST_PIXEL = 10  # instances of objects; smaller numbers are background in this format


def export_sceneleapplus(store: GraspStore, hand: Hand, dest: Path, progress: Callable[[int], None]) -> None:
    """Write scenes, ``dest/grasps`` and ``dest/objects``; ``progress`` is called with the scenes done.

    Raises:
        FileExistsError: ``dest`` is not empty.
        ValueError: a hand whose base in this format is not known, or views of several cameras.
    """
    new_folder(dest)
    number = {name: i for i, name in enumerate(store.object_names)}
    kept: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)  # grasps in the object's frame
    count: dict[str, int] = defaultdict(int)
    for row in range(store.num_scenes):
        record = store.record(row)
        if row == 0:
            _write_camera(dest / "camera.json", record.views[0])
        folder = dest / f"scene_{record.index:06d}"
        listed = []
        for i, (entry, labeled) in enumerate(zip(record.scene.objects, record.labeled, strict=True)):
            written = labeled.success | (labeled.outcome == Outcome.SCENE_COLLISION)
            grasps = Grasps(
                *(getattr(labeled.grasps, n)[written] for n in ("hand_pose", "pregrasp_qpos", "squeeze_qpos"))
            )
            kept[entry.name].append(foreign_poses(grasps, hand, inverse(record.scene.T_world_object[i])))
            free = count[entry.name] + np.flatnonzero(labeled.success[written])
            count[entry.name] += int(written.sum())
            label, uid = name_and_uid(entry.name)
            listed.append(
                {
                    "object_name": label,
                    "uid": uid,
                    "object_index": number[entry.name],
                    "collision_free_indices": free.tolist(),
                }
            )
        _write_json(folder / "collision_free_grasp_indices.json", listed)
        _write_scene(folder, record, number)
        progress(row + 1)
    for row in range(store.num_objects):
        name = store.object_names[row]
        code = "_".join(name_and_uid(name))
        write_object(dest / "objects" / code, store.object(row), MESH_SCALE)
        parts = kept[name]
        values: dict[str, Any] = {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
        values["obj_pose"] = as_vector(np.eye(4))
        (dest / "grasps").mkdir(exist_ok=True)
        np.save(dest / "grasps" / f"{code}.npy", values)  # type: ignore[arg-type]


def name_and_uid(name: str) -> tuple[str, str]:
    """Split an object's name as this format does: mug-000017 is object mug, uid 000017."""
    head, _, tail = name.rpartition("-")
    return (head, tail) if head else (name, "0")


def _write_scene(folder: Path, record: SceneRecord, number: dict[str, int]) -> None:
    truth: dict[str, Any] = {}
    cameras: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    numbers = [number[o.name] for o in record.scene.objects]
    for v, view in enumerate(record.views):
        T_cam_world = inverse(view.T_world_cam)
        truth[str(v)] = [
            {"obj_id": n, "cam_R_m2c": T[:3, :3].ravel().tolist(), "cam_t_m2c": (1e3 * T[:3, 3]).tolist()}
            for n, T in zip(numbers, T_cam_world @ record.scene.T_world_object, strict=True)
        ]
        cameras[str(v)] = {
            "cam_K": view.K.ravel().tolist(),
            "depth_scale": DEPTH_SCALE,
            "cam_R_w2c": T_cam_world[:3, :3].ravel().tolist(),
            "cam_t_w2c": (1e3 * T_cam_world[:3, 3]).tolist(),
        }
        attributes[str(v)] = [{"category_id": n, "idx": _FIRST_PIXEL + i} for i, n in enumerate(numbers)]
        _write_images(folder, v, view, T_cam_world)
    _write_json(folder / "train_pbr/000000/scene_gt.json", truth)
    _write_json(folder / "train_pbr/000000/scene_camera.json", cameras)
    _write_json(folder / "instance_attribute_maps.json", attributes)


def _write_images(folder: Path, v: int, view: View, T_cam_world: np.ndarray) -> None:
    width, height = _size(view)
    points = view.points.astype(np.float64) @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
    z = points[:, 2]
    u, w = (np.rint(view.K[k, k] * points[:, k] / z + view.K[k, 2]).astype(int) for k in (0, 1))
    depth = np.zeros((height, width), np.uint16)
    instance, rgb = np.zeros((height, width), np.uint8), np.zeros((height, width, 3), np.uint8)
    depth[w, u] = np.rint(1e3 * DEPTH_SCALE * z)
    instance[w, u] = np.where(view.instance > 0, view.instance + _FIRST_PIXEL - 1, 0)
    rgb[w, u] = view.rgb
    places = (("train_pbr/000000/depth", depth), ("train_pbr/000000/rgb", rgb), ("InstanceMask", instance))
    for place, pixels in places:
        path = folder / place / f"{v:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def _size(view: View) -> tuple[int, int]:
    """Return width and height of an image whose principal point is its middle."""
    width, height = (round(2 * view.K[k, 2] + 1) for k in (0, 1))
    return width, height


def _write_camera(path: Path, view: View) -> None:
    width, height = _size(view)
    fx, fy, cx, cy = view.K[0, 0], view.K[1, 1], view.K[0, 2], view.K[1, 2]
    camera = {"width": width, "height": height, "fx": fx, "fy": fy, "cx": cx, "cy": cy}
    _write_json(path, {**camera, "depth_scale": DEPTH_SCALE})


def _write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n")
