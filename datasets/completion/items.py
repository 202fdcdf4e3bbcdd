"""One view of a scene as a network that completes it reads it, and the truth beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch.utils.data import Dataset

from sceneleapultra.datasets.completion.truth import TrueDistances
from sceneleapultra.datasets.items.phases import StagePhase
from sceneleapultra.datasets.store.store import GraspStore, StoreItem
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.geometry.voxels.batch import VoxelBatch
from sceneleapultra.utils.geometry.voxels.grid import Standpoint
from sceneleapultra.utils.geometry.voxels.observe import observe
from sceneleapultra.utils.geometry.voxels.settings import VoxelSettings

_UP = np.array([0.0, 0.0, 1.0])  # of stores
_STREAM = 7  # tells these draws from those of grasps


@dataclass(frozen=True, kw_only=True)
class VoxelPhase(StagePhase):
    """Steps with fewer, larger voxels in the same cubes."""

    key = "data.progressive"
    size: int

    @property
    def detail(self) -> int:
        """Voxels along each side."""
        return self.size


@dataclass(frozen=True, kw_only=True)
class VoxelAugmentation:
    """What may be done to a scene and its camera together; ``config/data/completion.yaml`` says what numbers mean.

    A mirror image of a scene is a scene. It is not one of a right hand's grasps: batches here hold none.
    """

    turn_deg: float
    mirror: bool

    def __post_init__(self) -> None:
        if not 0.0 <= self.turn_deg <= 180.0:
            raise ValueError(f"data.augment.turn_deg: expected 0 to 180, got {self.turn_deg}.")


class VoxelItems(Dataset[VoxelBatch]):
    """Items of one split; an index is (epoch, position), and with the seed decides every random choice.

    A third number of an index is that of voxels along each side, where a phase of the training has fewer.

    Args:
        store: where they are.
        items: targets in views.
        voxels: size and resolution of the grids.
        truth: that computes true distances.
        augmentation: None for items as they are.
        seed: of every choice.
    """

    def __init__(
        self,
        store: GraspStore,
        items: Sequence[StoreItem],
        voxels: VoxelSettings,
        truth: TrueDistances,
        *,
        augmentation: VoxelAugmentation | None,
        seed: int,
    ) -> None:
        self.store, self.items, self.voxels, self.truth = store, items, voxels, truth
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: tuple[int, ...]) -> VoxelBatch:
        """Build a batch of one item.

        Raises:
            ValueError: a scene without a table.
        """
        epoch, position, *size = index
        voxels = self.voxels.coarser(*size) if size else self.voxels
        item = self.items[position]
        view, scene = self.store.view(item.view), self.store.scene(item.scene)
        if not scene.table:
            raise ValueError(
                f"{self.store.path}: scene {item.scene} has no table, which completion takes for known. Use a store of "
                "scenes on a table."
            )
        is_target = view.instance == item.target + 1
        viewpoint = view.T_world_cam[:3, 3]
        grid = voxels.grid(view.points[is_target], Standpoint(viewpoint, _UP, 0.0))
        mirrored = False
        if self.augmentation is not None:
            rng = np.random.default_rng(keyed_seed(self.seed, epoch, item.index, _STREAM))
            turn = np.deg2rad(self.augmentation.turn_deg) * rng.uniform(-1.0, 1.0)
            grid = grid.turned(turn)
            mirrored = self.augmentation.mirror and rng.uniform() < 0.5
        observed = observe(grid, view.points, is_target, viewpoint)
        distance = self.truth.field(scene, item.target, grid)
        return VoxelBatch(
            observed=_tensor(observed, mirrored=mirrored),
            distance=_tensor(distance, mirrored=mirrored),
            voxel_m=torch.tensor([grid.voxel_m]),
            item_index=(item.index,),
        )

    def __getitems__(self, indices: Sequence[tuple[int, ...]]) -> VoxelBatch:
        """Build a batch."""
        return VoxelBatch.join([self[index] for index in indices])


def _tensor(values: Float[np.ndarray, "c x y z"], *, mirrored: bool) -> torch.Tensor:
    """Return a batch of one, mirrored in the grid's xz-plane where asked for."""
    values = np.flip(values, axis=2) if mirrored else values
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]
