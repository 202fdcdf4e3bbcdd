"""Grids of spheres with their truth."""

import numpy as np
import torch

from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.geometry.voxels.grid import VoxelGrid
from sceneleapultra.utils.geometry.voxels.observe import CHANNELS, FREE

REACH_M = 0.03
GRID = VoxelGrid(np.eye(4), 16, 0.01)


def sphere_field(middle: tuple[float, float, float], radius: float) -> torch.Tensor:
    distance = np.linalg.norm(GRID.centers - np.array(middle), axis=-1) - radius
    return torch.from_numpy(distance.clip(-REACH_M, REACH_M)).float()


def sphere_batch() -> VoxelBatch:
    """Two scenes of a sphere and its neighbor, of which the upper parts are seen."""
    truth = torch.stack(
        [
            torch.stack([sphere_field((0.0, 0.0, z), 0.04), sphere_field((0.0, 0.06, 0.02), 0.02)])
            for z in (0.04, 0.05)
        ]
    )
    observed = torch.zeros(2, len(CHANNELS), 16, 16, 16)
    observed[:, :2] = (truth.abs() < 0.01) & (torch.arange(16) >= 4)
    observed[:, FREE, :, :, 4:] = (truth > 0.0).all(1)[..., 4:].float()
    observed[:, CHANNELS.index("height")] = torch.from_numpy(GRID.centers[..., 2]).float() / 0.1
    return VoxelBatch(observed, truth, torch.full((2,), 0.01), (0, 1))
