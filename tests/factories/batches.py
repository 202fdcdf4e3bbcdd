"""Batches to augment, and the chains that do."""

from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from factories.records import item_settings, leap, scene_record
from sceneleapultra.datasets.augmentation import Augmentation
from sceneleapultra.datasets.items.collate import collate
from sceneleapultra.datasets.items.grasp_pool import build_pool, sample_grasps
from sceneleapultra.datasets.items.item_cloud import build_cloud
from sceneleapultra.hands import GraspPose
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.keyed_random import draw_keys
from sceneleapultra.utils.geometry.frames import CAMERA_MODES

AUGMENT = CONFIG_DIR / "data" / "augment"
ALL: dict[str, dict[str, Any]] = {
    **OmegaConf.to_container(OmegaConf.load(AUGMENT / "sensor.yaml")),  # type: ignore[dict-item]
    "tilt": {"probability": 1.0, "max_deg": 10.0},
    "color": {"probability": 1.0, "exposure": 0.3, "balance": 0.1},
}
# What may turn or move a cloud in each coordinate mode.
YAW = {"yaw": {"probability": 1.0, "max_deg": 180.0}}
TILT = {"tilt": {"probability": 1.0, "max_deg": 20.0}}
SHIFT = {"translation": {"probability": 1.0, "max_m": 0.05, "vertical": True}}
LEGAL = {"tabletop": YAW, "object_centric": YAW, **{mode: {**SHIFT, **TILT} for mode in CAMERA_MODES}}
SURE = {name: {**settings, "probability": 1.0} for name, settings in ALL.items()}


def batch(size: int = 4, epoch: int = 0, records: int = 4) -> GraspBatch:
    settings = item_settings(colors=True, num_points=200, number=5)
    scenes = [scene_record(i % records) for i in range(size)]
    index = torch.arange(size)
    return collate(
        [build_cloud(r.views[0], 0, settings.cloud, np.random.default_rng(0), colors=True) for r in scenes],
        [
            sample_grasps(build_pool(r.labeled[0], settings.grasps), settings.grasps, None, np.random.default_rng(i))
            for i, r in enumerate(scenes)
        ],
        settings.grasps.number,
        draw_key=draw_keys(0, torch.full_like(index, epoch), index),
        item_index=tuple(index.tolist()),
    )  # fmt: skip


def chain(*names: str, mode: str = "tabletop", **changes: Any) -> Augmentation:
    transforms = {name: {**SURE[name], **changes} for name in names}
    return Augmentation(transforms, mode=mode, colors=True, hand=leap())


def hand_to_cloud(values: GraspBatch) -> Tensor:
    """Distance of every point to the surface of the hand, at every grasp."""
    assert values.hand_pose is not None
    return torch.stack(
        [
            leap().signed_distance(points, GraspPose.from_hand_pose(pose))
            for points, pose in zip(values.scene_pc, values.hand_pose, strict=True)
        ]
    )
