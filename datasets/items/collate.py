"""How items become a batch: their clouds are stacked and their grasps expressed in the frame of each."""

from dataclasses import fields
from typing import Any

import numpy as np
import torch

from sceneleapultra.datasets.augmentation.frame import move_hand_pose
from sceneleapultra.datasets.items.grasp_pool import NUM_VERDICTS, ItemGrasps
from sceneleapultra.datasets.items.item_cloud import ItemCloud
from sceneleapultra.utils.batch import GraspBatch

_CLOUD_FIELDS = tuple(f.name for f in fields(ItemCloud) if f.name != "frame_from_world")


def collate(clouds: list[ItemCloud], grasps: list[ItemGrasps], num_grasps: int, **rest: Any) -> GraspBatch:
    """Stack items into a batch.

    Args:
        clouds: of the items.
        grasps: of the items; places behind those that were taken are filling, behind the mask.
        num_grasps: places for successes.
        rest: further fields of the batch.
    """
    columns = {name: [getattr(cloud, name) for cloud in clouds] for name in _CLOUD_FIELDS}
    stacked: dict[str, Any] = {
        name: torch.from_numpy(np.stack(c)) for name, c in columns.items() if c[0] is not None
    }
    table = torch.from_numpy(np.stack([one.table for one in grasps]))
    j = (table.shape[-1] - 7 - NUM_VERDICTS) // 3
    hand_pose, pregrasp, squeeze, verdicts = table.split((j + 7, j, j, NUM_VERDICTS), dim=-1)
    robustness, stable, collision_free = verdicts.unbind(-1)
    good, bad = torch.tensor([(one.num_good, one.num_bad) for one in grasps]).T[..., None]
    place = torch.arange(table.shape[1])
    success = place < good
    motion = torch.from_numpy(np.stack([cloud.frame_from_world for cloud in clouds]))
    return GraspBatch(
        **stacked,
        hand_pose=move_hand_pose(hand_pose, motion[:, :3], motion[:, 3:]),
        pregrasp_qpos=pregrasp,
        squeeze_qpos=squeeze,
        grasp_valid=success | ((place >= num_grasps) & (place < num_grasps + bad)),
        grasp_success=success,
        grasp_robustness=robustness,
        grasp_stable=stable,
        grasp_collision_free=collision_free,
        **rest,
    )
