"""Scenes that stand for the data in a plan of memory: sizes are theirs, and how points lie is like in a scene."""

import torch
from jaxtyping import Float
from torch import Tensor

from sceneleapultra.hands import Hand
from sceneleapultra.utils.batch import OTHER_CLASS, TABLE_CLASS, TARGET_CLASS, GraspBatch
from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.geometry.voxels.observe import CHANNELS
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings

_RADIUS, _HEIGHT = 0.04, 0.1  # m; of the upright cylinder that is the target


def example_batch(
    hand: Hand, *, scenes: int, points: int, grasps: int, radius: float, colors: bool, prompts: bool
) -> GraspBatch:
    """Return scenes of a cylinder on a table, with grasps around it.

    Args:
        hand: whose grasps.
        scenes: how many.
        points: of a cloud, six in ten of them the target's.
        grasps: of a scene, all successful.
        radius: of the piece of table (m).
        colors: whether points have colors.
        prompts: whether the target is named.
    """
    draw = torch.Generator().manual_seed(0)
    target = torch.rand(scenes, points, generator=draw) < 0.6
    angle = 2 * torch.pi * torch.rand(scenes, points, generator=draw)
    away = radius * torch.rand(scenes, points, generator=draw).sqrt()
    height = _HEIGHT * torch.rand(scenes, points, generator=draw)
    away, height = torch.where(target, _RADIUS, away), torch.where(target, height, 0.0)
    cloud = torch.stack([away * angle.cos(), away * angle.sin(), height], dim=-1)
    low, high = hand.joint_limits.unbind(-1)
    qpos = low + (high - low) * torch.rand(scenes, grasps, len(low), generator=draw)
    yes = torch.ones(scenes, grasps, dtype=torch.bool)
    table = torch.where(away < 0.9 * radius, TABLE_CLASS, OTHER_CLASS)
    return GraspBatch(
        scene_pc=cloud,
        point_valid=torch.ones(scenes, points, dtype=torch.bool),
        object_mask=target,
        viewpoint=torch.tensor([0.4, 0.1, 0.5]).repeat(scenes, 1),
        up=torch.tensor([0.0, 0.0, 1.0]).repeat(scenes, 1),
        T_world_frame=torch.eye(4).repeat(scenes, 1, 1),
        scene_rgb=torch.zeros(scenes, points, 3, dtype=torch.uint8) if colors else None,
        point_class=torch.where(target, TARGET_CLASS, table).to(torch.uint8),
        hand_pose=torch.cat([_around(scenes, grasps, draw), qpos, _turned(scenes, grasps, draw)], -1),
        pregrasp_qpos=qpos,
        squeeze_qpos=qpos,
        grasp_valid=yes,
        grasp_success=yes,
        grasp_robustness=yes.float(),
        grasp_stable=yes.float(),
        grasp_collision_free=yes.float(),
        object_name=("cylinder",) * scenes,
        item_index=tuple(range(scenes)),
        positive_prompt=("cylinder",) * scenes if prompts else (),
        negative_prompts=((),) * scenes if prompts else (),
    )


def example_voxels(voxels: VoxelSettings, scenes: int) -> VoxelBatch:
    """Return grids of a ball on a table, of which nothing is seen.

    Args:
        voxels: of the grids.
        scenes: how many.
    """
    side = torch.linspace(-1.0, 1.0, voxels.size)
    away = torch.stack(torch.meshgrid(side, side, side, indexing="ij")).norm(dim=0)
    distance = ((away - 0.5) * voxels.reach_m).clamp(-voxels.reach_m, voxels.reach_m)
    grid = (voxels.size,) * 3
    return VoxelBatch(
        observed=torch.zeros(scenes, len(CHANNELS), *grid),
        distance=distance.expand(scenes, 2, *grid).clone(),
        voxel_m=torch.full((scenes,), voxels.voxel_m[0]),
        item_index=tuple(range(scenes)),
    )


def _around(scenes: int, grasps: int, draw: torch.Generator) -> Float[Tensor, "b g 3"]:
    """Return points within reach of the target."""
    return 0.05 * torch.randn(scenes, grasps, 3, generator=draw) + torch.tensor([0.0, 0.0, _HEIGHT / 2])


def _turned(scenes: int, grasps: int, draw: torch.Generator) -> Float[Tensor, "b g 4"]:
    return torch.nn.functional.normalize(torch.randn(scenes, grasps, 4, generator=draw), dim=-1)
