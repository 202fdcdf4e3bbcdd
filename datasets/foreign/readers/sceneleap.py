"""How the predecessor's scenes are read (SceneLeapPlus and SceneLeapPro): BOP-like folders, grasps and meshes beside.

    root/camera.json                               {width, height, fx, fy, cx, cy, depth_scale}; or in the first scene
    root/scene*/instance_attribute_maps.json       {view: [{category_id, idx}]}; idx is the pixel of InstanceMask
    root/scene*/collision_free_grasp_indices.json  [{object_name, uid, object_index, collision_free_indices}]
    root/scene*/train_pbr/000000/scene_gt.json     {view: [{obj_id, cam_R_m2c, cam_t_m2c (mm)}]}
    root/scene*/train_pbr/000000/{depth,rgb}/%06d.png, root/scene*/InstanceMask/%06d.png
    root/scene*/train_pbr/000000/scene_camera.json {view: {cam_R_w2c, cam_t_w2c (mm)}}; optional, BOP's
    grasps/{object_name}_{uid}.npy                 {grasp_qpos (n, 23), obj_pose (7)}: quaternions wxyz, m, table frame
    objects/{object_name}_{uid}/mesh/simplified.obj

Depth in metres is raw / (1000 depth_scale). Without scene_camera.json the table is found in the first view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.datasets.foreign.readers.base import Claims, Placed, RawScene, SourceScene
from sceneleapultra.datasets.foreign.readers.files import below, numbers, read_json, read_npy, read_png
from sceneleapultra.datasets.foreign.readers.frames import (
    DEXGRASPBENCH_BASES,
    check_width,
    inverse,
    joined,
    rigid,
    stored_base,
    table_plane,
    wrist_motion,
)
from sceneleapultra.hands import Hand
from sceneleapultra.utils.records import Outcome, View

_GT = Path("train_pbr/000000")
_SAME_PLACE_M = 0.01  # views may disagree by this on where an object lies


@dataclass(frozen=True, kw_only=True)
class SceneLeap:
    """Reads a folder of scenes; ``config/conversion`` says what each setting means."""

    name: str
    grasps: str
    objects: str
    mesh_scale: float
    depth_unit_m: float | None
    colliding: bool
    base: Sequence[float] | None

    def places(self, root: Path) -> list[Path]:
        """Scenes with their camera, grasps and objects."""
        return [root / "camera.json", *root.glob("scene*"), root / self.grasps, root / self.objects]

    def index(self, root: Path) -> list[SourceScene]:
        """List the scene folders."""
        entries = []
        for folder in sorted(p for p in root.glob("scene*") if p.is_dir()):
            listed = read_json(folder / "collision_free_grasp_indices.json")
            names = tuple((_code(o), str(o["object_name"])) for o in listed)
            entries.append(SourceScene(folder.name, names))
        return entries

    def columns(self, root: Path) -> set[str]:
        """Look into the first grasp file; the predecessor's hold the grasp only."""
        files = sorted((root / self.grasps).glob("*.npy"))
        if not files:
            raise FileNotFoundError(
                f"No grasp file at {root / self.grasps}/{{object_name}}_{{uid}}.npy. Pass reader.grasps=<that folder>."
            )
        return {"pregrasp_qpos", "squeeze_qpos"} & set(_record(files[0]))

    def read(self, root: Path, key: str, hand: Hand) -> RawScene:
        """Read one scene."""
        folder = root / key
        poses = _poses(folder)
        T_world_cams = _cameras(folder, poses, lambda view: self._background(root, folder, view))
        listed = read_json(folder / "collision_free_grasp_indices.json")
        base = stored_base(hand, self.base, DEXGRASPBENCH_BASES)
        first = next(iter(poses))
        placed = []
        for entry in listed:
            number, name = int(entry["object_index"]), _code(entry)
            if number not in poses[first]:
                raise ValueError(
                    f"{folder / _GT / 'scene_gt.json'}: view {first} has no obj_id {number}, which object '{name}' of "
                    "collision_free_grasp_indices.json has as its object_index."
                )
            placed.append(
                Placed(
                    name=name,
                    family=str(entry["object_name"]),
                    mesh=self._mesh(root, name),
                    scale=self.mesh_scale,
                    T_world_object=T_world_cams[first] @ poses[first][number],
                    grasps=self._claims(below(root / self.grasps, f"{name}.npy"), entry, hand, base),
                )
            )
        numbers_ = [int(entry["object_index"]) for entry in listed]
        views = tuple(self._view(root, folder, view, T_world_cams[view], numbers_) for view in poses)
        return RawScene(tuple(placed), True, views)

    def _mesh(self, root: Path, name: str) -> Path:
        """Return the folder of an object that has convex pieces, or its mesh."""
        folder = below(root / self.objects, name)
        return folder if (folder / "urdf/meshes").is_dir() else folder / "mesh/simplified.obj"

    def _claims(
        self, path: Path, entry: Mapping[str, Any], hand: Hand, base: Float[np.ndarray, "4 4"]
    ) -> Claims:
        record = _record(path)
        grasp = numbers(record, "grasp_qpos", path, ndim=2)
        check_width(grasp[:, 7:], hand, path)
        free = np.asarray(entry["collision_free_indices"], dtype=np.int64)
        if len(free) and not 0 <= free.min() <= free.max() < len(grasp):
            raise ValueError(
                f"{path} holds {len(grasp)} grasps, collision_free_indices of '{_code(entry)}' names number "
                f"{free.max()}. Indices and grasps are of different runs."
            )
        outcome = np.full(len(grasp), Outcome.SCENE_COLLISION, np.uint8)
        outcome[free] = Outcome.CLAIMED
        rows = np.arange(len(grasp)) if self.colliding else np.unique(free)
        # Grasps lie in the frame of a table on which the object has obj_pose.
        T_object_table = inverse(rigid(numbers(record, "obj_pose", path, last=7).reshape(-1)[:7], str(path)))
        others = {
            name: numbers(record, name, path, last=grasp.shape[1])[rows]
            for name in ("pregrasp_qpos", "squeeze_qpos")
            if name in record
        }
        return Claims(
            T_object_base=T_object_table @ rigid(grasp[rows], str(path)) @ base,
            qpos=grasp[rows, 7:],
            outcome=outcome[rows],
            wrist_motion=wrist_motion(grasp[rows], others.values(), str(path)),
            **{name: values[:, 7:] for name, values in others.items()},
        )

    def _view(
        self, root: Path, folder: Path, view: str, T_world_cam: Float[np.ndarray, "4 4"], objects: list[int]
    ) -> View:
        points, pixels, K = self._cloud(root, folder, view)
        mask = read_png(folder / "InstanceMask" / f"{int(view):06d}.png")
        image = read_png(folder / _GT / "rgb" / f"{int(view):06d}.png")
        attributes = read_json(folder / "instance_attribute_maps.json")
        if view not in attributes:
            raise ValueError(
                f"{folder / 'instance_attribute_maps.json'} has no view {view}, scene_gt.json has."
            )
        pixel_of = {int(a["category_id"]): int(a["idx"]) for a in attributes[view]}
        instance = np.zeros(len(pixels), dtype=np.uint8)
        for i, number in enumerate(objects):
            if number in pixel_of:
                instance[mask.ravel()[pixels] == pixel_of[number]] = i + 1
        world = points @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]
        rgb = image.reshape(-1, image.shape[-1])[pixels, :3].astype(np.uint8)
        return View(T_world_cam, K, world.astype(np.float32), rgb, instance)

    def _cloud(
        self, root: Path, folder: Path, view: str
    ) -> tuple[Float[np.ndarray, "n 3"], np.ndarray, Float[np.ndarray, "3 3"]]:
        """Lift the pixels with a depth into the camera's frame; pixels without one are left out."""
        path = root / "camera.json"
        path = path if path.is_file() else folder / "camera.json"
        camera = read_json(path)
        fx, fy, cx, cy = (float(numbers(camera, key, path)) for key in ("fx", "fy", "cx", "cy"))
        unit = self.depth_unit_m or 1e-3 / float(numbers(camera, "depth_scale", path))
        raw = read_png(folder / _GT / "depth" / f"{int(view):06d}.png")
        if raw.dtype != np.uint16 and raw.dtype != np.int32:
            raise ValueError(f"{folder}: depth images hold 16-bit numbers, got {raw.dtype} in view {view}.")
        pixels = np.flatnonzero(raw.ravel() > 0)
        v, u = np.divmod(pixels, raw.shape[1])
        z = unit * raw.ravel()[pixels].astype(np.float64)
        points = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=1)
        return points, pixels, np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def _background(self, root: Path, folder: Path, view: str) -> Float[np.ndarray, "n 3"]:
        points, pixels, _ = self._cloud(root, folder, view)
        mask = read_png(folder / "InstanceMask" / f"{int(view):06d}.png").ravel()[pixels]
        shown = {int(a["idx"]) for a in read_json(folder / "instance_attribute_maps.json")[view]}
        return points[~np.isin(mask, list(shown))]


def _code(entry: Mapping[str, Any]) -> str:
    return f"{entry['object_name']}_{entry['uid']}"


def _record(path: Path) -> dict[str, Any]:
    record = read_npy(path)
    if not isinstance(record, dict):
        raise ValueError(f"{path}: expected a dictionary of arrays, got {type(record).__name__}.")
    return record


def _poses(folder: Path) -> dict[str, dict[int, Float[np.ndarray, "4 4"]]]:
    """Return ``T_cam_object`` by view and obj_id (m)."""
    path = folder / _GT / "scene_gt.json"
    poses = {}
    for view, entries in sorted(read_json(path).items(), key=lambda item: int(item[0])):
        poses[view] = {
            int(e["obj_id"]): joined(
                numbers(e, "cam_R_m2c", path, last=9).reshape(3, 3),
                1e-3 * numbers(e, "cam_t_m2c", path, last=3),
            )
            for e in entries
        }
    if not poses:
        raise ValueError(f"{path} holds no view.")
    return poses


def _cameras(folder: Path, poses: Mapping[str, Mapping[int, Any]], background: Any) -> dict[str, Any]:
    """Return ``T_world_cam`` by view: from scene_camera.json, or from the table in the first view and what all show."""
    path = folder / _GT / "scene_camera.json"
    cameras = read_json(path) if path.is_file() else {}
    first = next(iter(poses))
    if "cam_R_w2c" in cameras.get(first, {}):
        found = {
            view: inverse(
                joined(
                    numbers(cameras[view], "cam_R_w2c", path, last=9).reshape(3, 3),
                    1e-3 * numbers(cameras[view], "cam_t_w2c", path, last=3),
                )
            )
            for view in poses
        }
    else:
        T_world_first = table_plane(background(first), f"{folder.name}, view {first}")
        found = {first: T_world_first}
        for view, visible in poses.items():
            shared = sorted(visible.keys() & poses[first].keys())
            if not shared:
                raise ValueError(
                    f"{folder}: view {view} shows no object of view {first}; no common frame is known."
                )
            found[view] = T_world_first @ poses[first][shared[0]] @ inverse(visible[shared[0]])
    for view, visible in poses.items():
        for number in visible.keys() & poses[first].keys():
            one, other = found[first] @ poses[first][number], found[view] @ visible[number]
            if (apart := float(np.linalg.norm(one[:3, 3] - other[:3, 3]))) > _SAME_PLACE_M:
                raise ValueError(
                    f"{folder}: views {first} and {view} place obj_id {number} {1e3 * apart:.0f} mm apart. Poses or "
                    "cameras of different scenes?"
                )
    return found
