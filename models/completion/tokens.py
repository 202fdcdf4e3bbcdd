"""What a trained completion makes of a scene, as tokens that a generator of grasps reads beside the encoder's."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch.nn import functional

from sceneleapultra.models.completion.complete import load_grid_model
from sceneleapultra.models.completion.completer import SceneCompleter
from sceneleapultra.models.network.completion_encoder import CompletionEncoder
from sceneleapultra.models.network.tokens import Cloud, SceneTokens
from sceneleapultra.models.observed_points import observed_table_height
from sceneleapultra.utils.core.precision import full_precision
from sceneleapultra.utils.geometry.points import gather
from sceneleapultra.utils.geometry.voxels.grid import Standpoint, VoxelGrid
from sceneleapultra.utils.geometry.voxels.observe import CHANNELS, observe
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings

CELL = 4  # voxels along each side of what one token stands for
_OF_TARGET = [CHANNELS.index(name) for name in ("target_seen", "hidden_by_target")]
_OF_OTHERS = [CHANNELS.index(name) for name in ("other_seen", "hidden_by_other")]
_OUTWARD = torch.tensor(
    [[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
)  # tokens face the camera: the normal is -x of the grid


class FrozenCompletion(CompletionEncoder):
    """Tokens of the cubes of a completion's grid that are seen or hidden: its features, and what is observed there.

    The grid is made of what the encoder reads of a cloud, its table and its camera. Tokens face the camera.

    Args:
        weights: checkpoint of ``experiment=completion``; None for one that is built to be filled from a checkpoint.
        number: of tokens of a cloud; those of which most is seen or hidden.
        completer: the network; None for that of ``weights``.
        voxels: how clouds become grids, as :attr:`VoxelSettings.plain` says it; None for those of ``weights``.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: neither weights nor a network, or weights of something else.
    """

    def __init__(
        self,
        *,
        weights: str | None,
        number: int,
        completer: SceneCompleter | None,
        voxels: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        if number < 1:
            raise ValueError(f"model.generator.completion.number: expected at least 1, got {number}.")
        if weights is not None:
            completer, settings = load_grid_model(weights, SceneCompleter, "completion")
            completer.train()  # as the parts around it: no layer of it depends on that
        elif completer is not None and voxels is not None:
            settings = VoxelSettings.from_plain(voxels)
        else:
            raise ValueError(
                "model.generator.completion.weights: expected a checkpoint of a completion, got null. Train one: "
                "python train_lightning.py experiment=completion"
            )
        self.completer, self.voxels = completer.requires_grad_(False), settings
        self.number = min(number, (settings.size // CELL) ** 3)
        self.dim = completer.encoder.dims[1] + len(CHANNELS)

    @property
    def described(self) -> dict[str, Any]:
        """See :class:`CompletionEncoder`."""
        return {
            "_target_": f"{type(self).__module__}.{type(self).__name__}",
            "weights": None,
            "number": self.number,
            "completer": {
                "_target_": f"{SceneCompleter.__module__}.{SceneCompleter.__name__}",
                "dim": self.completer.encoder.dims[0],
                "reach_m": self.completer.reach_m,
            },
            "voxels": self.voxels.plain,
        }

    @torch.no_grad()
    def forward(self, cloud: Cloud) -> SceneTokens:
        """See :class:`CompletionEncoder`.

        Raises:
            ValueError: the viewpoint of a cloud is none from which its target could have been seen.
        """
        device = cloud.points.device
        # Grids are made by the processor: one copy of the whole batch.
        cloud = Cloud(
            *(x.cpu() for x in (cloud.points, cloud.valid, cloud.target, cloud.viewpoint, cloud.up))
        )
        table = observed_table_height(cloud, cloud.points.shape[1]).tolist()
        grids, observed = zip(
            *(self._observed(cloud, i, height) for i, height in enumerate(table)), strict=True
        )
        with full_precision(device.type):
            channels = torch.from_numpy(np.stack(observed)).to(device)
            features = self.completer.cell_features(channels).flatten(2).transpose(1, 2)
        cells = functional.avg_pool3d(channels, CELL).flatten(2).transpose(1, 2)
        share = cells[..., _OF_TARGET + _OF_OTHERS].sum(-1)
        chosen = share.argsort(dim=1, descending=True, stable=True)[:, : self.number]
        centers = np.stack([_centers(grid) for grid in grids]).astype(np.float32)
        features = torch.cat([functional.layer_norm(features, features.shape[-1:]), cells], dim=-1)
        xyz, features, share, of_target = (
            gather(x, chosen)
            for x in (
                torch.from_numpy(centers).to(device),
                features,
                share[..., None],
                cells[..., _OF_TARGET].sum(-1, keepdim=True),
            )
        )
        valid = share[..., 0] > 0.0
        valid[:, 0] = True  # a decoder looks at something
        R = torch.from_numpy(np.stack([grid.T_cloud_grid[:3, :3] for grid in grids]).astype(np.float32))
        frames = (R @ _OUTWARD).to(device)[:, None].expand(-1, self.number, -1, -1)
        return SceneTokens(xyz, features, valid, of_target[..., 0] > 0.0, frames.contiguous())

    def _observed(self, cloud: Cloud, i: int, table: float) -> tuple[VoxelGrid, Float[np.ndarray, "c x y z"]]:
        """Return a grid and what is observed of its voxels, of one of the clouds on the processor."""
        valid = cloud.valid[i].numpy()
        points, target = (x[i].numpy()[valid] for x in (cloud.points, cloud.target))
        viewpoint, up = (x[i].double().numpy() for x in (cloud.viewpoint, cloud.up))
        grid = self.voxels.grid(points[target], Standpoint(viewpoint, up, table))
        x, y, z = grid.to_grid(viewpoint)
        half = grid.size * grid.voxel_m / 2
        if z <= 0.0 or (max(abs(x), abs(y)) < half and z < 2.0 * half):
            raise ValueError(
                "model.generator.completion needs the rays of a camera, which looks down on the table from outside of "
                f"the {2.0 * half:.2f} m about the target; the viewpoint lies {np.hypot(x, y):.2f} m beside the target "
                f"and {z:.2f} m above the table. Give the viewpoint of each cloud, or train without "
                "(model/generator/completion=none)."
            )
        return grid, observe(grid, points, target, viewpoint)


def _centers(grid: VoxelGrid) -> Float[np.ndarray, "m 3"]:
    """Return the centers of a grid's cells in the frame of the cloud."""
    T, coarse = grid.T_cloud_grid, VoxelGrid(grid.T_cloud_grid, grid.size // CELL, CELL * grid.voxel_m)
    centers: np.ndarray = coarse.centers.reshape(-1, 3) @ T[:3, :3].T + T[:3, 3]
    return centers
