"""How DexGraspNet 2.0 is read: GraspNet's scenes, and per object an .npz of grasps of a hand.

scenes/scene_0000/<camera>/{depth,label,rgb}/0000.png    label: 0 background, obj_id + 1; rgb may be missing
scenes/scene_0000/<camera>/annotations/0000.xml          obj_id, pos_in_world (m), ori_in_world (wxyz): camera frame
scenes/scene_0000/<camera>/{camK,camera_poses,cam0_wrt_table}.npy    camera_poses map views into camera 0
dex_grasps_new/scene_0000/<hand>/000.npz                 translation, rotation (camera 0), j0 .. j15 by URDF name
meshdata/000/simplified.obj
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sceneleapultra.datasets.foreign.readers.base import Claims, Placed, RawScene, SourceScene
from sceneleapultra.datasets.foreign.readers.files import numbers, read_npy, read_npz, read_png
from sceneleapultra.datasets.foreign.readers.frames import inverse, joined, joint_order, rigid, stored_base
from sceneleapultra.hands import Hand
from sceneleapultra.utils.core.plain_data import read_xml
from sceneleapultra.utils.records import Outcome, View

_NOT_JOINTS = ("point", "translation", "rotation", "score", "index")
_GRAY = 128  # color where there is no color image


@dataclass(frozen=True, kw_only=True)
class DexGraspNet2:
    """Reads scenes; ``config/conversion/dexgraspnet2.yaml`` says what each setting means."""

    name: str
    grasps: str
    objects: str
    camera: str
    robot: str
    views: list[int]
    depth_unit_m: float
    base: Sequence[float]

    def places(self, root: Path) -> list[Path]:
        """Images of the camera, grasps and objects."""
        images = sorted((root / "scenes").glob(f"scene_*/{self.camera}"))
        return [*images, root / self.grasps, root / self.objects]

    def index(self, root: Path) -> list[SourceScene]:
        """List the scenes that have grasps of this hand."""
        entries = []
        for folder in sorted((root / self.grasps).glob(f"scene_*/{self.robot}")):
            names = tuple((f"object_{p.stem}", f"object_{p.stem}") for p in sorted(folder.glob("*.npz")))
            if names:
                entries.append(SourceScene(folder.parent.name, names))
        return entries

    def columns(self, root: Path) -> set[str]:
        """The format has the grasp only."""
        return set()

    def read(self, root: Path, key: str, hand: Hand) -> RawScene:
        """Read one scene."""
        folder = root / "scenes" / key / self.camera
        T_table_cam0 = _pose(read_npy(folder / "cam0_wrt_table.npy"), folder / "cam0_wrt_table.npy")
        poses = np.asarray(read_npy(folder / "camera_poses.npy"), dtype=np.float64)
        if poses.ndim != 3 or max(self.views) >= len(poses):
            raise ValueError(
                f"{folder / 'camera_poses.npy'} has shape {poses.shape}; reader.views asks for view {max(self.views)}."
            )
        visible = _annotations(folder / f"annotations/{self.views[0]:04d}.xml")
        placed = []
        for path in sorted((root / self.grasps / key / self.robot).glob("*.npz")):
            number = int(path.stem)
            if number not in visible:
                raise ValueError(f"{path}: scene {key} shows no object {number} in its annotations.")
            T_cam0_object = poses[self.views[0]] @ visible[number]
            placed.append(
                Placed(
                    name=f"object_{path.stem}",
                    family=f"object_{path.stem}",
                    mesh=root / self.objects / f"{number:03d}/simplified.obj",
                    scale=1.0,
                    T_world_object=T_table_cam0 @ T_cam0_object,
                    grasps=self._claims(path, hand, inverse(T_cam0_object)),
                )
            )
        numbers_ = [int(p.name.removeprefix("object_")) for p in placed]
        views = tuple(self._view(folder, v, T_table_cam0 @ poses[v], numbers_) for v in self.views)
        return RawScene(tuple(placed), True, views)

    def _claims(self, path: Path, hand: Hand, T_object_cam0: Float[np.ndarray, "4 4"]) -> Claims:
        arrays = read_npz(path)
        R = numbers(arrays, "rotation", path, ndim=3, last=3)
        t = numbers(arrays, "translation", path, ndim=2, last=3)
        names = sorted(set(arrays) - set(_NOT_JOINTS))
        order = joint_order(names, hand, path)
        qpos = np.stack([numbers(arrays, n, path) for n in names], axis=1)[:, order]
        return Claims(
            T_object_base=T_object_cam0 @ joined(R, t) @ stored_base(hand, self.base, {}),
            qpos=qpos,
            outcome=np.full(len(t), Outcome.CLAIMED, np.uint8),
        )

    def _view(
        self, folder: Path, view: int, T_world_cam: Float[np.ndarray, "4 4"], objects: list[int]
    ) -> View:
        K = np.asarray(read_npy(folder / "camK.npy"), dtype=np.float64)
        raw, label = read_png(folder / f"depth/{view:04d}.png"), read_png(folder / f"label/{view:04d}.png")
        if raw.shape != label.shape:
            raise ValueError(
                f"{folder}: view {view} has a depth image of {raw.shape} and labels of {label.shape}."
            )
        pixels = np.flatnonzero(raw.ravel() > 0)
        v, u = np.divmod(pixels, raw.shape[1])
        z = self.depth_unit_m * raw.ravel()[pixels].astype(np.float64)
        points = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], axis=1)
        points = points @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]
        instance = np.zeros(len(pixels), np.uint8)
        for i, number in enumerate(objects):
            instance[label.ravel()[pixels] == number + 1] = i + 1
        image = folder / f"rgb/{view:04d}.png"
        rgb = np.full((len(pixels), 3), _GRAY, np.uint8)
        if image.is_file():
            rgb = read_png(image).reshape(-1, 3)[pixels]
        return View(T_world_cam, K, points.astype(np.float32), rgb, instance)


def _pose(values: object, path: Path) -> Float[np.ndarray, "4 4"]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"{path}: expected a 4 x 4 matrix, got {matrix.shape}.")
    return matrix


def _annotations(path: Path) -> dict[int, Float[np.ndarray, "4 4"]]:
    """Return ``T_cam_object`` by obj_id."""
    root, found = read_xml(path), {}
    for entry in root.iter("obj"):
        words = [(entry.findtext(tag) or "").split() for tag in ("pos_in_world", "ori_in_world")]
        vector = np.array([float(w) for w in words[0] + words[1]])
        if vector.shape != (7,):
            raise ValueError(f"{path}: an object has no pos_in_world and ori_in_world.")
        found[int(entry.findtext("obj_id") or -1)] = rigid(vector, str(path))
    return found
